import { once } from "node:events";
import type { Writable } from "node:stream";

import { type Output, Output_Stream } from "./gen/remex/v1/exec_pb.js";

/** Writes, and waits where whoever reads is slower: else all that was not read would be kept here. */
export async function write(out: Writable, data: Uint8Array): Promise<void> {
  if (!out.write(data)) await once(out, "drain");
}

export function writeOutput({ stream, data }: Output): Promise<void> {
  return write(stream === Output_Stream.STDERR ? process.stderr : process.stdout, data);
}
