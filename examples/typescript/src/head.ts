import type { Client } from "@connectrpc/connect";

import { connect, type Server } from "./connect.js";
import { type ExecService, Output_Stream } from "./gen/remex/v1/exec_pb.js";
import { reasonName } from "./outcome.js";
import { write } from "./output.js";

/** Start: the first lines of a command's output, and then the stream is broken off. */
export async function head(argv: string[], lines: number, server: Server): Promise<number> {
  const client = connect(server);
  const executionId = await printHead(client, argv, lines);
  const { execution } = await client.wait({ executionId });
  console.error(`client: ended, ${reasonName(execution?.exit)}`);
  return 0;
}

/** Prints so many lines of what argv writes to stdout, and returns the execution's id. */
async function printHead(client: Client<typeof ExecService>, argv: string[], lines: number): Promise<string> {
  let executionId = "";
  const call = new AbortController();
  for await (const { event } of client.start({ command: { argv } }, { signal: call.signal })) {
    if (event?.kind.case === "started") executionId = event.kind.value.executionId;
    if (event?.kind.case !== "output" || event.kind.value.stream !== Output_Stream.STDOUT) continue;
    let data = event.kind.value.data;
    while (data.length > 0) {
      const end = data.indexOf(0x0a) + 1;
      await write(process.stdout, data.subarray(0, end || data.length));
      if (end === 0) break;
      data = data.subarray(end);
      if (--lines === 0) {
        // Leaving the loop does not end the call, and waits for its next message: until it is aborted, the command runs on.
        call.abort();
        return executionId;
      }
    }
  }
  return executionId;
}
