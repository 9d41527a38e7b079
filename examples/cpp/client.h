// What the verbs are given, and the verbs. Each returns our exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Options {
  std::string server = "127.0.0.1:50051";
  // Files, over TLS.
  std::string ca;
  std::string cert;
  std::string key;
  std::string token_file;
  std::vector<std::string> argv;
  // Of run.
  double timeout_seconds = 0;
  bool terminal = false;
  std::string user;
  // Of capture.
  uint64_t max_bytes = 0;
  bool gzip = false;
  // Of head.
  int lines = 10;
  // Of attach, whose argv is the id: the event that was seen last, and behind how many outputs the
  // command is left alone again (0: never).
  uint64_t after = 0;
  int outputs = 0;
};

int Run(const Options& options);
int Capture(const Options& options);
int Head(const Options& options);
int Start(const Options& options);
int Attach(const Options& options);
