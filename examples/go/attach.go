package main

import (
	"context"
	"errors"
	"flag"
	"io"

	remexv1 "remex.example/client/gen/remex/v1"
)

// attachVerb is Interact: joins what runs on by itself, behind the event that was seen last, and may leave it again.
func attachVerb(flags *flag.FlagSet) action {
	after := flags.Uint64("after", 0, "go on behind this `event`, the one that was seen last")
	outputs := flags.Int("outputs", 0, "leave it alone again behind so many")
	return func(ctx context.Context, client remexv1.ExecServiceClient, ids []string) (int, error) {
		request := &remexv1.AttachRequest{ExecutionId: ids[0], AfterSequence: *after}
		return attach(ctx, client, request, *outputs)
	}
}

// attach returns the command's exit code, or 0 once so many outputs were seen.
func attach(ctx context.Context, client remexv1.ExecServiceClient, request *remexv1.AttachRequest, outputs int) (int, error) {
	// Cancelling leaves the command alone. CloseSend would be the end of its stdin.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Interact(ctx)
	if err != nil {
		return failure, err
	}
	first := &remexv1.InteractRequest{Message: &remexv1.InteractRequest_Attach{Attach: request}}
	// An error of Send is only io.EOF: Recv tells why.
	if err := stream.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return failure, err
	}
	requests := make(requests)
	go requests.send(ctx, stream)
	go requests.forwardSignals(ctx, watchSignals(false))
	window := newWindow()
	// Our stdin is the command's from its first byte: what it has of it already, the server passes over.
	go requests.forwardStdin(ctx, window)
	return receive(stream, window, outputs)
}
