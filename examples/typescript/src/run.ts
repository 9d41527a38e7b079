import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";

import { connect } from "./connect.js";
import { CommandSchema, type ExecService } from "./gen/remex/v1/exec_pb.js";
import { exitCode, require } from "./outcome.js";
import { writeOutput } from "./output.js";
import { type Message, Requests } from "./requests.js";

export interface RunOptions {
  server: string;
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
  if (!terminal) return interact(client, { case: "start", value: { command } });
  // Every key is passed on, Ctrl-C too: the command's terminal does what is to be done.
  process.stdin.setRawMode(true);
  try {
    return await interact(client, { case: "start", value: { command } });
  } finally {
    process.stdin.setRawMode(false);
  }
}

/**
 * Sends the first message, then our stdin and signals. Writes output as it comes; the exit code is in the last event. The
 * command is left alone behind so many outputs; 0: never.
 */
export async function interact(client: Client<typeof ExecService>, first: Message, outputs = 0): Promise<number> {
  const requests = new Requests(first);
  requests.forwardSignals();
  requests.forwardResizes();
  const call = new AbortController();
  const stdin = requests.forwardStdin();
  stdin.catch((error) => call.abort(error));
  try {
    for await (const { event, stdinAcceptedBytes } of client.interact(requests, { signal: call.signal })) {
      requests.accepted(stdinAcceptedBytes);
      switch (event?.kind.case) {
        case "output":
          await writeOutput(event.kind.value);
          if (--outputs === 0) {
            console.error(`client: left behind event ${event.sequence}`);
            return 0;
          }
          break;
        case "exited":
          return exitCode(event.kind.value.exit);
      }
    }
    throw new Error("the server stopped telling what the command does");
  } finally {
    // Were the requests to end instead, that would be the end of the command's stdin.
    call.abort();
    process.stdin.destroy();
  }
}
