import { EventEmitter, once } from "node:events";
import * as os from "node:os";

import { create, type MessageInitShape } from "@bufbuild/protobuf";

import { type InteractRequest, InteractRequestSchema, type StartRequestSchema } from "./gen/remex/v1/exec_pb.js";

// stdin on its way and not yet accepted; below 1 MiB, so that signals always get through.
const WINDOW_BYTES = 256n * 1024n;

type Message = MessageInitShape<typeof InteractRequestSchema>["message"];

/** The messages to be sent, in order: the start, then whatever is put. */
export class Requests implements AsyncIterable<InteractRequest> {
  readonly #changed = new EventEmitter();
  readonly #queue: InteractRequest[] = [];
  #accepted = 0n;

  constructor(start: MessageInitShape<typeof StartRequestSchema>) {
    this.put({ case: "start", value: start });
  }

  put(message: Message): void {
    this.#queue.push(create(InteractRequestSchema, { message }));
    this.#changed.emit("put");
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<InteractRequest> {
    for (;;) {
      const request = this.#queue.shift();
      if (request !== undefined) yield request;
      else await once(this.#changed, "put");
    }
  }

  /** uint64 is a bigint here, since a number has 53 bits. */
  accepted(position: bigint): void {
    this.#accepted = position;
    this.#changed.emit("accepted");
  }

  async forwardStdin(): Promise<void> {
    let sent = 0n;
    for await (const data of process.stdin as AsyncIterable<Buffer>) {
      while (sent - this.#accepted >= WINDOW_BYTES) await once(this.#changed, "accepted");
      this.put({ case: "stdinChunk", value: { data } });
      sent += BigInt(data.length);
    }
    this.put({ case: "stdinChunk", value: { eof: true } });
  }

  forwardSignals(): void {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      // Their numbers are Linux's, here and there.
      process.on(name, () => this.put({ case: "signal", value: os.constants.signals[name] }));
    }
  }

  forwardResizes(): void {
    process.stdout.on("resize", () => {
      this.put({ case: "resize", value: { rows: process.stdout.rows, columns: process.stdout.columns } });
    });
  }
}
