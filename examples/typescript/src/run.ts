import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";

import { connect, type Server } from "./connect.js";
import { type Command, CommandSchema, type ExecService, Output_Stream } from "./gen/remex/v1/exec_pb.js";
import { exitCode, require } from "./outcome.js";
import { write } from "./output.js";
import { Requests } from "./requests.js";

export interface RunOptions {
  server: Server;
  timeoutSeconds: number;
  terminal: boolean;
  user: string;
}

/** Interact: a command as if it were local, with live output, stdin, signals, a terminal. */
export async function run(argv: string[], options: RunOptions): Promise<number> {
  const { rows, columns } = process.stdout;
  const terminal = options.terminal ? { rows, columns } : undefined;
  const command = create(CommandSchema, { argv, user: options.user, terminal });
  if (options.timeoutSeconds > 0) command.timeout = durationFromMs(options.timeoutSeconds * 1000);
  const client = connect(options.server);
  if (command.user !== "") await require(client, "user");
  if (!terminal) return interact(client, { command });
  // Every key is passed on, Ctrl-C too: the command's terminal does what is to be done.
  process.stdin.setRawMode(true);
  try {
    return await interact(client, { command });
  } finally {
    process.stdin.setRawMode(false);
  }
}

/** Writes output as it comes; the exit code is in the last event. */
async function interact(client: Client<typeof ExecService>, start: { command: Command }): Promise<number> {
  const requests = new Requests(start);
  requests.forwardSignals();
  requests.forwardResizes();
  const call = new AbortController();
  const stdin = requests.forwardStdin();
  stdin.catch((error) => call.abort(error));
  try {
    for await (const response of client.interact(requests, { signal: call.signal })) {
      requests.accepted(response.stdinAcceptedBytes);
      const kind = response.event?.kind;
      switch (kind?.case) {
        case "output":
          await write(kind.value.stream === Output_Stream.STDERR ? process.stderr : process.stdout, kind.value.data);
          break;
        case "exited":
          return exitCode(kind.value.exit);
      }
    }
    throw new Error("the server stopped telling what the command does");
  } finally {
    call.abort();
    process.stdin.destroy();
  }
}
