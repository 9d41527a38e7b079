import { buffer } from "node:stream/consumers";

import { connect, type Server } from "./connect.js";
import { exitCode } from "./outcome.js";
import { write } from "./output.js";

export interface CaptureOptions {
  server: Server;
  maxBytes: bigint;
  gzip: boolean;
}

/** Run: a command to its end with our stdin, and its whole output in one answer. */
export async function capture(argv: string[], options: CaptureOptions): Promise<number> {
  const client = connect(options.server, options);
  const answer = await client.run({
    command: { argv },
    stdinData: await buffer(process.stdin),
    maxOutputBytes: options.maxBytes,
  });
  await write(process.stdout, answer.stdoutData);
  await write(process.stderr, answer.stderrData);
  if (answer.stdoutTruncated || answer.stderrTruncated) {
    const total = answer.stdoutBytesTotal + answer.stderrBytesTotal;
    console.error(`client: cut, of ${total} bytes in all`);
  }
  return exitCode(answer.exit);
}
