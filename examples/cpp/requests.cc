#include "requests.h"

#include <unistd.h>

#include <iostream>
#include <vector>

#include "outcome.h"
#include "terminal.h"

namespace {
constexpr size_t kChunkBytes = 64 << 10;
// Stdin on its way and not yet accepted; below 1 MiB, so that signals always get through.
constexpr uint64_t kWindowBytes = 256 << 10;
}  // namespace

sigset_t BlockSignals(bool terminal) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  if (terminal) sigaddset(&signals, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

void Requests::Put(const remex::v1::InteractRequest& request) {
  const std::lock_guard lock(writing_);
  // A failure is that the call has ended; reading tells why.
  stream_.Write(request);
}

void Requests::Accepted(uint64_t position) {
  const std::lock_guard lock(mutex_);
  accepted_ = position;
  moved_.notify_one();
}

void Requests::ForwardStdin() {
  std::vector<char> buffer(kChunkBytes);
  uint64_t sent = 0;
  for (;;) {
    const ssize_t length = read(STDIN_FILENO, buffer.data(), buffer.size());
    remex::v1::InteractRequest request;
    if (length <= 0) {
      request.mutable_stdin_chunk()->set_offset(sent);
      request.mutable_stdin_chunk()->set_eof(true);
      return Put(request);
    }
    {
      std::unique_lock lock(mutex_);
      moved_.wait(lock, [&] { return sent < accepted_ + kWindowBytes; });
    }
    request.mutable_stdin_chunk()->set_offset(sent);
    request.mutable_stdin_chunk()->set_data(buffer.data(), length);
    Put(request);
    sent += length;
  }
}

void Requests::ForwardSignals(const sigset_t& signals) {
  for (int number = 0; sigwait(&signals, &number) == 0;) {
    remex::v1::InteractRequest request;
    if (number == SIGWINCH) {
      *request.mutable_resize() = GetWindowSize();
    } else {
      // Their numbers are Linux's, here and there.
      request.set_signal(static_cast<remex::v1::Signal>(number));
    }
    Put(request);
  }
}

std::optional<int> Receive(InteractStream& stream, Requests& requests, int outputs) {
  remex::v1::InteractResponse response;
  while (stream.Read(&response)) {
    requests.Accepted(response.stdin_accepted_bytes());
    const remex::v1::Event& event = response.event();
    if (event.has_output()) {
      Write(event.output());
      if (--outputs == 0) {
        std::cerr << "client: left behind event " << event.sequence() << std::endl;
        return 0;
      }
    } else if (event.has_exited()) {
      return ExitCode(event.exited().exit());
    }
  }
  return std::nullopt;
}
