#include "connect.h"

#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "outcome.h"

namespace {

// Run answers with up to 16 MiB of stdout and as much of stderr; by default 4 MiB are taken.
constexpr int kMaxAnswerBytes = 33 << 20;
constexpr std::string_view kTls = "https://";

// What is in the file, if one is named.
std::string ReadFile(const std::string& file) {
  if (file.empty()) return "";
  std::ifstream stream(file, std::ios::binary);
  if (!stream) std::exit(Report(file + " cannot be read"));
  return {std::istreambuf_iterator<char>(stream), {}};
}

// What the server and we know each other by. Without a CA, those that gRPC finds are trusted.
std::shared_ptr<grpc::ChannelCredentials> Credentials(const Options& options) {
  grpc::SslCredentialsOptions files;
  files.pem_root_certs = ReadFile(options.ca);
  files.pem_cert_chain = ReadFile(options.cert);
  files.pem_private_key = ReadFile(options.key);
  const auto tls = grpc::SslCredentials(files);
  if (options.token_file.empty()) return tls;
  std::string token = ReadFile(options.token_file);
  token.erase(token.find_last_not_of(" \r\n") + 1);
  // Each call carries it, as `authorization: Bearer …`.
  return grpc::CompositeChannelCredentials(tls, grpc::AccessTokenCredentials(token));
}

}  // namespace

std::unique_ptr<remex::v1::ExecService::Stub> Connect(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  // http_proxy in the environment is meant for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  std::string server = options.server;
  auto credentials = grpc::InsecureChannelCredentials();
  if (server.rfind(kTls, 0) == 0) {
    server.erase(0, kTls.size());
    credentials = Credentials(options);
  } else if (!(options.ca + options.cert + options.key + options.token_file).empty()) {
    std::exit(Report("certificates and tokens are for TLS: --server https://HOST:PORT"));
  }
  if (server.rfind("unix:", 0) == 0) {
    // Later versions would send the socket's path, escaped, which HTTP/2 refuses as an authority.
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  }
  const auto channel = grpc::CreateCustomChannel(server, credentials, arguments);
  return remex::v1::ExecService::NewStub(channel);
}
