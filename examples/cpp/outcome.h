// What came of a command or of a call, as the exit code that a shell would see.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "remex/v1/exec.grpc.pb.h"

constexpr int kFailure = 255;

// The command's own code, 128+n if signal n ended it, 124 if its timeout did.
int ExitCode(const remex::v1::Exit& exit);

// Why remexd refused, such as PROGRAM_NOT_FOUND; empty if it was not remexd that did.
std::string ReasonOf(const grpc::ClientContext& context);

// A server that is older than a field drops it unseen, and would do something else than was asked
// for: an error then.
grpc::Status Require(remex::v1::ExecService::Stub& stub, const std::string& feature);

// Passes on what the command wrote.
void Write(const remex::v1::Output& output);

// Tells the user of a call's error, and returns the exit code for it.
int Report(const grpc::Status& status, const grpc::ClientContext& context);

// Tells the user of anything else.
int Report(const std::string& text);
