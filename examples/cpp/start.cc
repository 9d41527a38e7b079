// Start: a command that runs on without us, whatever becomes of its callers and of remexd.
#include <iostream>

#include "client.h"
#include "connect.h"
#include "outcome.h"

using remex::v1::OnDisconnect;

// Starts the command, prints its id, and leaves it alone.
int Start(const Options& options) {
  const auto stub = Connect(options);
  if (const auto status = Require(*stub, "durable"); !status.ok())
    return Report(status.error_message());
  remex::v1::StartRequest request;
  request.mutable_command()->mutable_argv()->Add(options.argv.begin(), options.argv.end());
  request.set_on_disconnect(OnDisconnect::ON_DISCONNECT_DETACH);
  // For those who attach to it.
  request.set_stdin_open(true);

  grpc::ClientContext context;
  const auto stream = stub->Start(&context, request);
  remex::v1::StartResponse response;
  if (!stream->Read(&response)) return Report(stream->Finish(), context);
  std::cout << response.event().started().execution_id() << std::endl;
  context.TryCancel();
  stream->Finish();
  return 0;
}
