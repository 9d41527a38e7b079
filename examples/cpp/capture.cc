// Run: a command to its end with our stdin, and its whole output in one answer.
#include <iostream>
#include <iterator>

#include "client.h"
#include "connect.h"
#include "outcome.h"

int Capture(const Options& options) {
  remex::v1::RunRequest request;
  request.mutable_command()->mutable_argv()->Add(options.argv.begin(), options.argv.end());
  request.mutable_stdin_data()->assign(std::istreambuf_iterator<char>(std::cin), {});
  request.set_max_output_bytes(options.max_bytes);

  grpc::ClientContext context;
  if (options.gzip) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  remex::v1::RunResponse answer;
  const grpc::Status status = Connect(options)->Run(&context, request, &answer);
  if (!status.ok()) return Report(status, context);

  std::cout << answer.stdout_data() << std::flush;
  std::cerr << answer.stderr_data();
  if (answer.stdout_truncated() || answer.stderr_truncated()) {
    const uint64_t total = answer.stdout_bytes_total() + answer.stderr_bytes_total();
    std::cerr << "client: cut, of " << total << " bytes in all\n";
  }
  return ExitCode(answer.exit());
}
