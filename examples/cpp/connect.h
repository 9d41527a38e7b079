// Channels to remexd.
#pragma once

#include <memory>
#include <string>

#include "remex/v1/exec.grpc.pb.h"

// To HOST:PORT or unix:/PATH.
std::unique_ptr<remex::v1::ExecService::Stub> Connect(const std::string& server);
