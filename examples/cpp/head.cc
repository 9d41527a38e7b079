// Start: the first lines of a command's output, and then the stream is broken off.
#include <algorithm>
#include <iostream>

#include "client.h"
#include "connect.h"
#include "outcome.h"

using remex::v1::ExecService;
using remex::v1::Exit;
using remex::v1::Output;

namespace {

// Prints so many lines of what the command writes to stdout, and returns the execution's id.
std::string PrintHead(grpc::ClientReader<remex::v1::StartResponse>& stream, int lines) {
  std::string id;
  remex::v1::StartResponse response;
  while (lines > 0 && stream.Read(&response)) {
    const remex::v1::Event& event = response.event();
    if (event.has_started()) id = event.started().execution_id();
    if (event.output().stream() != Output::STREAM_STDOUT) continue;
    const std::string& data = event.output().data();
    auto end = data.begin();
    for (; lines > 0 && end != data.end(); --lines) {
      end = std::find(end, data.end(), '\n');
      if (end == data.end()) break;
      ++end;
    }
    std::cout.write(data.data(), end - data.begin()).flush();
  }
  return id;
}

}  // namespace

int Head(const Options& options) {
  const auto stub = Connect(options);
  remex::v1::StartRequest request;
  request.mutable_command()->mutable_argv()->Add(options.argv.begin(), options.argv.end());

  grpc::ClientContext context;
  const auto stream = stub->Start(&context, request);
  const std::string id = PrintHead(*stream, options.lines);
  // Finish alone would wait for the end of the command; cancelling ends it.
  context.TryCancel();
  const grpc::Status status = stream->Finish();
  if (id.empty()) return Report(status, context);

  grpc::ClientContext wait_context;
  remex::v1::WaitRequest wait;
  wait.set_execution_id(id);
  remex::v1::WaitResponse ended;
  const grpc::Status waited = stub->Wait(&wait_context, wait, &ended);
  if (!waited.ok()) return Report(waited, wait_context);
  std::cerr << "client: ended, " << Exit::Reason_Name(ended.execution().exit().reason()) << "\n";
  return 0;
}
