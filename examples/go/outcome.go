package main

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	remexv1 "remex.example/client/gen/remex/v1"
)

const failure = 255

// exitCode is what a shell would see: the command's own code, 128+n if signal n ended it, 124 if its timeout did.
func exitCode(exit *remexv1.Exit) (int, error) {
	switch exit.GetReason() {
	case remexv1.Exit_REASON_TIMEOUT:
		return 124, nil
	case remexv1.Exit_REASON_SELF, remexv1.Exit_REASON_SIGNAL:
		if exit.GetSignal() != remexv1.Signal_SIGNAL_UNSPECIFIED {
			return 128 + int(exit.GetSignal()), nil
		}
		if exit.GetCode() >= 0 {
			return int(exit.GetCode()), nil
		}
	}
	return failure, fmt.Errorf("the command was lost: %v", exit.GetReason())
}

// reasonOf is why remexd refused, such as PROGRAM_NOT_FOUND; empty if it was not remexd that did. The metadata
// `remex-reason` is the same; in Go the error itself carries the details, and only the call the metadata.
func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == "remex" {
			return info.GetReason()
		}
	}
	return ""
}

// describe is what to tell the user of an error, and the exit code for it.
func describe(err error) (string, int) {
	refusal, ok := status.FromError(err)
	if !ok {
		return err.Error(), failure
	}
	reason := reasonOf(err)
	code := failure
	switch reason {
	case "":
		reason = refusal.Code().String()
	case "PROGRAM_NOT_FOUND":
		code = 127
	case "PROGRAM_NOT_EXECUTABLE":
		code = 126
	}
	return fmt.Sprintf("%s (%s)", refusal.Message(), reason), code
}
