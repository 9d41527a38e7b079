import { once } from "node:events";
import type { Writable } from "node:stream";

/** Writes, and waits where whoever reads is slower: else all that was not read would be kept here. */
export async function write(out: Writable, data: Uint8Array): Promise<void> {
  if (!out.write(data)) await once(out, "drain");
}
