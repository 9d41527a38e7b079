#include "connect.h"

#include <grpcpp/grpcpp.h>

namespace {
// Run answers with up to 16 MiB of stdout and as much of stderr; by default 4 MiB are taken.
constexpr int kMaxAnswerBytes = 33 << 20;
}  // namespace

std::unique_ptr<remex::v1::ExecService::Stub> Connect(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  // http_proxy in the environment is meant for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (server.rfind("unix:", 0) == 0) {
    // Later versions would send the socket's path, escaped, which HTTP/2 refuses as an authority.
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  }
  return remex::v1::ExecService::NewStub(
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
}
