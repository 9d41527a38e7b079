// What the verbs are given, and the verbs. Each returns our exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Options {
  std::string server = "127.0.0.1:50051";
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
};

int Run(const Options& options);
int Capture(const Options& options);
int Head(const Options& options);
