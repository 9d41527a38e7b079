import { enumToJson } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError } from "@connectrpc/connect";

import { type ExecService, type Exit, Exit_Reason, Exit_ReasonSchema, Signal } from "./gen/remex/v1/exec_pb.js";

const FAILURE = 255;
const CODE_OF_REASON: Record<string, number> = {
  PROGRAM_NOT_FOUND: 127,
  PROGRAM_NOT_EXECUTABLE: 126,
};

/** What a shell would see: the command's own code, 128+n if signal n ended it, 124 if its timeout did. */
export function exitCode(exit: Exit | undefined): number {
  switch (exit?.reason) {
    case Exit_Reason.TIMEOUT:
      return 124;
    case Exit_Reason.SELF:
    case Exit_Reason.SIGNAL:
      if (exit.signal !== Signal.UNSPECIFIED) return 128 + exit.signal;
      if (exit.code !== undefined && exit.code >= 0) return exit.code;
  }
  throw new Error(`the command was lost: ${reasonName(exit)}`);
}

/** As the .proto has it, REASON_SELF; the enum's own members have no prefix. */
export function reasonName(exit: Exit | undefined): string {
  const reason = exit?.reason ?? Exit_Reason.UNSPECIFIED;
  return reason in Exit_Reason ? String(enumToJson(Exit_ReasonSchema, reason)) : String(reason);
}

/** A server that is older than a field drops it unseen, and would do something else than was asked for. */
export async function require(client: Client<typeof ExecService>, feature: string): Promise<void> {
  const { features, version } = await client.getServerInfo({});
  if (!features.includes(feature)) {
    throw new Error(`the server is of version ${version}, which has no ${feature}`);
  }
}

/** What to tell the user of an error, and the exit code for it. */
export function describe(error: unknown): [string, number] {
  if (!(error instanceof ConnectError)) {
    return [error instanceof Error ? error.message : String(error), FAILURE];
  }
  // Why remexd refused, such as PROGRAM_NOT_FOUND; null if it was not remexd that did.
  const reason = error.metadata.get("remex-reason");
  const text = `${error.rawMessage} (${reason ?? Code[error.code]})`;
  return [text, CODE_OF_REASON[reason ?? ""] ?? FAILURE];
}
