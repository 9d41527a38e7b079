// Interact: joins what runs on by itself, behind the event that was seen last, and may leave it
// again.
#include <thread>

#include "client.h"
#include "connect.h"
#include "outcome.h"
#include "requests.h"

int Attach(const Options& options) {
  // Before gRPC has threads, which inherit it.
  const sigset_t signals = BlockSignals(false);
  const auto stub = Connect(options);
  remex::v1::InteractRequest first;
  first.mutable_attach()->set_execution_id(options.argv[0]);
  first.mutable_attach()->set_after_sequence(options.after);

  grpc::ClientContext context;
  const auto stream = stub->Interact(&context);
  Requests requests(*stream);
  requests.Put(first);
  // They end with the process: nothing wakes a thread that waits for stdin. That is the command's
  // from its first byte: what it has of it already, the server passes over.
  std::thread([&] { requests.ForwardStdin(); }).detach();
  std::thread([&] { requests.ForwardSignals(signals); }).detach();
  const auto code = Receive(*stream, requests, options.outputs);
  // WritesDone would be the end of the command's stdin.
  if (code) context.TryCancel();
  std::_Exit(code ? *code : Report(stream->Finish(), context));
}
