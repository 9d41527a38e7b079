// Channels to remexd.
#pragma once

#include <memory>

#include "client.h"
#include "remex/v1/exec.grpc.pb.h"

// To HOST:PORT or unix:/PATH, or over TLS to https://HOST:PORT. Exits where the options make no
// sense.
std::unique_ptr<remex::v1::ExecService::Stub> Connect(const Options& options);
