// A client of remexd in C++: runs a command as if it were local.
#include <getopt.h>

#include <iostream>
#include <map>
#include <string>

#include "client.h"

namespace {

constexpr char kUsage[] =
    R"(usage: client VERB [SERVER] [FLAG]... -- PROGRAM ARG...
  run      with live output, stdin and signals; --timeout SECONDS, --terminal, --user USER
  capture  to its end, then print its output; --max-bytes N, --gzip
  head     print the first lines of stdout, and break off; --lines N
  start    start what runs on by itself, and print its id
usage: client attach [SERVER] [--after EVENT] [--outputs N] -- ID
           join it, behind the event that was seen last; leave it alone again behind N outputs
SERVER is --server HOST:PORT or unix:/PATH; over TLS
  --server https://HOST:PORT [--ca FILE] [--cert FILE --key FILE] [--token-file FILE]
)";

int ExitWithUsage() {
  std::cerr << kUsage;
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(const Options&)> verbs = {
      {"run", Run}, {"capture", Capture}, {"head", Head}, {"start", Start}, {"attach", Attach}};
  const auto verb = verbs.find(argc > 1 ? argv[1] : "");
  if (verb == verbs.end()) return ExitWithUsage();

  const option flags[] = {
      {"server", required_argument, nullptr, 's'},     {"timeout", required_argument, nullptr, 't'},
      {"terminal", no_argument, nullptr, 'T'},         {"user", required_argument, nullptr, 'u'},
      {"max-bytes", required_argument, nullptr, 'm'},  {"gzip", no_argument, nullptr, 'z'},
      {"lines", required_argument, nullptr, 'n'},      {"after", required_argument, nullptr, 'a'},
      {"outputs", required_argument, nullptr, 'o'},    {"ca", required_argument, nullptr, 'A'},
      {"cert", required_argument, nullptr, 'C'},       {"key", required_argument, nullptr, 'K'},
      {"token-file", required_argument, nullptr, 'F'}, {}};
  Options options;
  optind = 2;
  for (int flag; (flag = getopt_long(argc, argv, "+", flags, nullptr)) != -1;) {
    switch (flag) {
      case 's':
        options.server = optarg;
        break;
      case 'A':
        options.ca = optarg;
        break;
      case 'C':
        options.cert = optarg;
        break;
      case 'K':
        options.key = optarg;
        break;
      case 'F':
        options.token_file = optarg;
        break;
      case 't':
        options.timeout_seconds = std::stod(optarg);
        break;
      case 'T':
        options.terminal = true;
        break;
      case 'u':
        options.user = optarg;
        break;
      case 'm':
        options.max_bytes = std::stoull(optarg);
        break;
      case 'z':
        options.gzip = true;
        break;
      case 'n':
        options.lines = std::stoi(optarg);
        break;
      case 'a':
        options.after = std::stoull(optarg);
        break;
      case 'o':
        options.outputs = std::stoi(optarg);
        break;
      default:
        return ExitWithUsage();
    }
  }
  if (optind == argc) return ExitWithUsage();
  options.argv.assign(argv + optind, argv + argc);
  return verb->second(options);
}
