#include "outcome.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

using remex::v1::ExecService;
using remex::v1::Exit;
using remex::v1::Output;

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

grpc::Status Require(ExecService::Stub& stub, const std::string& feature) {
  grpc::ClientContext context;
  remex::v1::GetServerInfoResponse info;
  const grpc::Status status = stub.GetServerInfo(&context, {}, &info);
  if (!status.ok()) return status;
  const auto& features = info.features();
  if (std::find(features.begin(), features.end(), feature) != features.end()) return status;
  return {grpc::StatusCode::UNIMPLEMENTED,
          "the server is of version " + info.version() + ", which has no " + feature};
}

void Write(const Output& output) {
  const int fd = output.stream() == Output::STREAM_STDERR ? STDERR_FILENO : STDOUT_FILENO;
  const std::string& data = output.data();
  for (size_t written = 0; written < data.size();) {
    const ssize_t length = write(fd, data.data() + written, data.size() - written);
    if (length < 0) return;
    written += length;
  }
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
