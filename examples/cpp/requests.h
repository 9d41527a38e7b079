// The messages of an Interact.
#pragma once

#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "remex/v1/exec.grpc.pb.h"

using InteractStream =
    grpc::ClientReaderWriter<remex::v1::InteractRequest, remex::v1::InteractResponse>;

// The signals that are passed on. They are blocked in every thread, so that one alone takes them.
sigset_t BlockSignals(bool terminal);

// A stream takes one Write at a time, so all of them go through here.
class Requests {
 public:
  explicit Requests(InteractStream& stream) : stream_(stream) {}

  void Put(const remex::v1::InteractRequest& request);
  // Stdin was accepted up to this position.
  void Accepted(uint64_t position);

  void ForwardStdin();
  void ForwardSignals(const sigset_t& signals);

 private:
  InteractStream& stream_;
  std::mutex writing_;

  std::mutex mutex_;
  std::condition_variable moved_;
  uint64_t accepted_ = 0;
};

// Writes output as it comes. Returns our exit code once the command has ended, or 0 once so many
// outputs were seen (0: never); nothing if the call ended before, which Finish tells about.
std::optional<int> Receive(InteractStream& stream, Requests& requests, int outputs);
