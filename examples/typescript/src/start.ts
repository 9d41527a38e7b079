import { connect, type Server } from "./connect.js";
import { OnDisconnect } from "./gen/remex/v1/exec_pb.js";
import { require } from "./outcome.js";

/** Start: a command that runs on without us, whatever becomes of its callers and of remexd. Its id is printed. */
export async function start(argv: string[], server: Server): Promise<number> {
  const client = connect(server);
  await require(client, "durable");
  // Its stdin is for those who attach to it.
  const request = { command: { argv }, onDisconnect: OnDisconnect.DETACH, stdinOpen: true };
  const call = new AbortController();
  for await (const { event } of client.start(request, { signal: call.signal })) {
    if (event?.kind.case !== "started") continue;
    console.log(event.kind.value.executionId);
    call.abort();
    return 0;
  }
  throw new Error("the server did not start the command");
}
