// Interact: a command as if it were local, with live output, stdin, signals, a terminal.
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <thread>

#include "client.h"
#include "connect.h"
#include "outcome.h"
#include "requests.h"
#include "terminal.h"

using google::protobuf::util::TimeUtil;
using remex::v1::ExecService;
using remex::v1::Output;

namespace {

// A server that is older than a field drops it unseen, and would run the command as its own user.
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

void WriteAll(int fd, const std::string& data) {
  for (size_t written = 0; written < data.size();) {
    const ssize_t length = write(fd, data.data() + written, data.size() - written);
    if (length < 0) return;
    written += length;
  }
}

// Writes output as it comes; the exit is in the last event.
std::optional<remex::v1::Exit> Receive(InteractStream& stream, Requests& requests) {
  remex::v1::InteractResponse response;
  while (stream.Read(&response)) {
    requests.Accepted(response.stdin_accepted_bytes());
    const remex::v1::Event& event = response.event();
    if (event.has_output()) {
      const bool is_stderr = event.output().stream() == Output::STREAM_STDERR;
      WriteAll(is_stderr ? STDERR_FILENO : STDOUT_FILENO, event.output().data());
    } else if (event.has_exited()) {
      return event.exited().exit();
    }
  }
  return std::nullopt;
}

}  // namespace

int Run(const Options& options) {
  // Before gRPC has threads, which inherit it.
  const sigset_t signals = BlockSignals(options.terminal);
  const auto stub = Connect(options.server);
  remex::v1::InteractRequest first;
  remex::v1::Command& command = *first.mutable_start()->mutable_command();
  command.mutable_argv()->Add(options.argv.begin(), options.argv.end());
  if (options.timeout_seconds > 0) {
    const auto milliseconds = std::llround(options.timeout_seconds * 1000);
    *command.mutable_timeout() = TimeUtil::MillisecondsToDuration(milliseconds);
  }
  grpc::ClientContext context;
  if (!options.user.empty()) {
    if (const auto status = Require(*stub, "user"); !status.ok())
      return Report(status.error_message());
    command.set_user(options.user);
  }
  std::optional<RawTerminal> raw;
  if (options.terminal) {
    const remex::v1::WindowSize size = GetWindowSize();
    command.mutable_terminal()->set_rows(size.rows());
    command.mutable_terminal()->set_columns(size.columns());
    raw.emplace();
  }

  const auto stream = stub->Interact(&context);
  Requests requests(*stream);
  requests.Put(first);
  // They end with the process: nothing wakes a thread that waits for stdin.
  std::thread([&] { requests.ForwardStdin(); }).detach();
  std::thread([&] { requests.ForwardSignals(signals); }).detach();
  const auto exit = Receive(*stream, requests);
  raw.reset();
  const int code = exit ? ExitCode(*exit) : Report(stream->Finish(), context);
  std::_Exit(code);
}
