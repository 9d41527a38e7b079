/** A client of remexd in TypeScript: runs a command as if it were local. */

import { constants } from "node:os";
import { parseArgs } from "node:util";

import { attach } from "./attach.js";
import { capture } from "./capture.js";
import { head } from "./head.js";
import { describe } from "./outcome.js";
import { run } from "./run.js";
import { start } from "./start.js";

const USAGE = `usage: client VERB [SERVER] [FLAG]... -- PROGRAM ARG...
  run      with live output, stdin and signals; --timeout SECONDS, --terminal, --user USER
  capture  to its end, then print its output; --max-bytes N, --gzip
  head     print the first lines of stdout, and break off; --lines N
  start    start what runs on by itself, and print its id
usage: client attach [SERVER] [--after EVENT] [--outputs N] -- ID
           join it, behind the event that was seen last; leave it alone again behind N outputs
SERVER is --server HOST:PORT or unix:/PATH; over TLS
  --server https://HOST:PORT [--ca FILE] [--cert FILE --key FILE] [--token-file FILE]`;

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      server: { type: "string", default: "127.0.0.1:50051" },
      ca: { type: "string" },
      cert: { type: "string" },
      key: { type: "string" },
      "token-file": { type: "string" },
      timeout: { type: "string", default: "0" },
      terminal: { type: "boolean", default: false },
      user: { type: "string", default: "" },
      "max-bytes": { type: "string", default: "0" },
      gzip: { type: "boolean", default: false },
      lines: { type: "string", default: "10" },
      after: { type: "string", default: "0" },
      outputs: { type: "string", default: "0" },
    },
  });
}

async function main(): Promise<number> {
  const { values, positionals } = parse();
  const [verb, ...argv] = positionals;
  const { server: address = "", ca, cert, key, "token-file": tokenFile } = values;
  const server = { address, ca, cert, key, tokenFile };
  const { terminal = false, user = "", gzip = false } = values;
  if (argv.length > 0) {
    switch (verb) {
      case "run":
        return run(argv, { server, terminal, user, timeoutSeconds: Number(values.timeout) });
      case "capture":
        return capture(argv, { server, gzip, maxBytes: BigInt(values["max-bytes"] ?? 0) });
      case "head":
        return head(argv, Number(values.lines), server);
      case "start":
        return start(argv, server);
      case "attach":
        return attach(argv[0] ?? "", { server, after: BigInt(values.after ?? 0), outputs: Number(values.outputs) });
    }
  }
  console.error(USAGE);
  return 2;
}

// Whoever read our output has gone; leaving ends the command.
process.stdout.on("error", () => process.exit(128 + constants.signals.SIGPIPE));

let code: number;
try {
  code = await main();
} catch (error) {
  let text: string;
  [text, code] = describe(error);
  console.error(`client: ${text}`);
}
// Not by itself: a call that was broken off before it began leaves its connection open.
process.exit(code);
