// Interact: a command as if it were local, with live output, stdin, signals, a terminal.
#include <google/protobuf/util/time_util.h>

#include <cmath>
#include <optional>
#include <thread>

#include "client.h"
#include "connect.h"
#include "outcome.h"
#include "requests.h"
#include "terminal.h"

using google::protobuf::util::TimeUtil;

int Run(const Options& options) {
  // Before gRPC has threads, which inherit it.
  const sigset_t signals = BlockSignals(options.terminal);
  const auto stub = Connect(options);
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
  const auto code = Receive(*stream, requests, 0);
  raw.reset();
  std::_Exit(code ? *code : Report(stream->Finish(), context));
}
