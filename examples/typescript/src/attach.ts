import { constants } from "node:os";

import { type Client, ConnectError } from "@connectrpc/connect";

import { connect, type Server } from "./connect.js";
import { type ExecService, Output_Stream } from "./gen/remex/v1/exec_pb.js";
import { exitCode } from "./outcome.js";
import { write } from "./output.js";

export interface AttachOptions {
  server: Server;
  /** The event that was seen last. */
  after: bigint;
  /** The command is left alone again behind so many; 0: never. */
  outputs: number;
}

/**
 * Attach and Write: joins what runs on by itself, and may leave it again. Interact would end the command's stdin then: Node
 * ends a stream before it resets it.
 */
export async function attach(executionId: string, { server, after, outputs }: AttachOptions): Promise<number> {
  const client = connect(server);
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => client.signal({ executionId, signal: constants.signals[name] }).catch(() => {}));
  }
  const call = new AbortController();
  forwardStdin(client, executionId, call.signal).catch((error) => {
    // What the command does not take is not missed: its events say what became of it.
    if (!(error instanceof ConnectError)) call.abort(error);
  });
  try {
    const events = client.attach({ executionId, afterSequence: after }, { signal: call.signal });
    for await (const { event } of events) {
      if (event?.kind.case === "exited") return exitCode(event.kind.value.exit);
      if (event?.kind.case !== "output") continue;
      const { stream, data } = event.kind.value;
      await write(stream === Output_Stream.STDERR ? process.stderr : process.stdout, data);
      if (--outputs === 0) {
        console.error(`client: left behind event ${event.sequence}`);
        // First, since to leave the loop would be to wait for the next message.
        call.abort();
        return 0;
      }
    }
    throw new Error("the server stopped telling what the command does");
  } finally {
    call.abort();
    process.stdin.destroy();
  }
}

/** Our stdin is the command's from its first byte: what it has of it already, the server passes over. */
async function forwardStdin(client: Client<typeof ExecService>, executionId: string, signal: AbortSignal) {
  let offset = 0n;
  for await (const data of process.stdin as AsyncIterable<Buffer>) {
    // Answered when the command, or what feeds it, has taken the chunk.
    await client.write({ executionId, chunk: { offset, data } }, { signal });
    offset += BigInt(data.length);
  }
  await client.write({ executionId, chunk: { offset, eof: true } }, { signal });
}
