import { connect } from "./connect.js";
import { interact } from "./run.js";

export interface AttachOptions {
  server: string;
  /** The event that was seen last. */
  after: bigint;
  /** The command is left alone again behind so many; 0: never. */
  outputs: number;
}

/** Interact: joins what runs on by itself, and may leave it again. */
export async function attach(executionId: string, options: AttachOptions): Promise<number> {
  // Our stdin is the command's from its first byte: what it has of it already, the server passes over.
  const request = { executionId, afterSequence: options.after };
  return interact(connect(options.server), { case: "attach", value: request }, options.outputs);
}
