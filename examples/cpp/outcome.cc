#include "outcome.h"

#include <iostream>

using remex::v1::Exit;

int ExitCode(const Exit& exit) {
  switch (exit.reason()) {
    case Exit::REASON_TIMEOUT:
      return 124;
    case Exit::REASON_SELF:
    case Exit::REASON_SIGNAL:
      if (exit.signal() != 0) return 128 + exit.signal();
      if (exit.code() >= 0) return exit.code();
      break;
    default:
      break;
  }
  return Report("the command was lost: " + Exit::Reason_Name(exit.reason()));
}

std::string ReasonOf(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto reason = trailers.find("remex-reason");
  if (reason == trailers.end()) return "";
  return {reason->second.data(), reason->second.size()};
}

int Report(const grpc::Status& status, const grpc::ClientContext& context) {
  const std::string reason = ReasonOf(context);
  Report(status.error_message() + " (" +
         (reason.empty() ? "code " + std::to_string(status.error_code()) : reason) + ")");
  if (reason == "PROGRAM_NOT_FOUND") return 127;
  if (reason == "PROGRAM_NOT_EXECUTABLE") return 126;
  return kFailure;
}

int Report(const std::string& text) {
  std::cerr << "client: " << text << std::endl;
  return kFailure;
}
