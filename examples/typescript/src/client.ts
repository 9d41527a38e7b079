/** A client of remexd in TypeScript: runs a command as if it were local. */

import { constants } from "node:os";
import { parseArgs } from "node:util";

import { capture } from "./capture.js";
import { head } from "./head.js";
import { describe } from "./outcome.js";
import { run } from "./run.js";

const USAGE = `usage: client VERB [--server HOST:PORT|unix:/PATH] [FLAG]... -- PROGRAM ARG...
  run      with live output, stdin and signals; --timeout SECONDS, --terminal, --user USER
  capture  to its end, then print its output; --max-bytes N, --gzip
  head     print the first lines of stdout, and break off; --lines N`;

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      server: { type: "string", default: "127.0.0.1:50051" },
      timeout: { type: "string", default: "0" },
      terminal: { type: "boolean", default: false },
      user: { type: "string", default: "" },
      "max-bytes": { type: "string", default: "0" },
      gzip: { type: "boolean", default: false },
      lines: { type: "string", default: "10" },
    },
  });
}

async function main(): Promise<number> {
  const { values, positionals } = parse();
  const [verb, ...argv] = positionals;
  const { server = "", terminal = false, user = "", gzip = false } = values;
  if (argv.length > 0) {
    switch (verb) {
      case "run":
        return run(argv, { server, terminal, user, timeoutSeconds: Number(values.timeout) });
      case "capture":
        return capture(argv, { server, gzip, maxBytes: BigInt(values["max-bytes"] ?? 0) });
      case "head":
        return head(argv, Number(values.lines), server);
    }
  }
  console.error(USAGE);
  return 2;
}

// Whoever read our output has gone; leaving ends the command.
process.stdout.on("error", () => process.exit(128 + constants.signals.SIGPIPE));

try {
  process.exitCode = await main();
} catch (error) {
  const [text, code] = describe(error);
  console.error(`client: ${text}`);
  process.exitCode = code;
}
