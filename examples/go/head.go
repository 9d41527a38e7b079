package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	remexv1 "remex.example/client/gen/remex/v1"
)

// headVerb is Start: the first lines of a command's output, and then the stream is broken off.
func headVerb(flags *flag.FlagSet) action {
	lines := flags.Int("lines", 10, "how many")
	return func(ctx context.Context, client remexv1.ExecServiceClient, argv []string) (int, error) {
		return head(ctx, client, *lines, argv)
	}
}

func head(ctx context.Context, client remexv1.ExecServiceClient, lines int, argv []string) (int, error) {
	id, err := printHead(ctx, client, lines, argv)
	if err != nil {
		return failure, err
	}
	ended, err := client.Wait(ctx, &remexv1.WaitRequest{ExecutionId: id})
	if err != nil {
		return failure, err
	}
	fmt.Fprintf(os.Stderr, "client: ended, %v\n", ended.GetExecution().GetExit().GetReason())
	return 0, nil
}

// printHead prints so many lines of what argv writes to stdout, and returns the execution's id.
func printHead(ctx context.Context, client remexv1.ExecServiceClient, lines int, argv []string) (id string, err error) {
	// Returning does not end the call: until its context is cancelled, or the connection closed, the command runs on.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Start(ctx, &remexv1.StartRequest{Command: &remexv1.Command{Argv: argv}})
	if err != nil {
		return "", err
	}
	for lines > 0 {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return id, nil
		}
		if err != nil {
			return "", err
		}
		event := response.GetEvent()
		if started := event.GetStarted(); started != nil {
			id = started.GetExecutionId()
		}
		if event.GetOutput().GetStream() != remexv1.Output_STREAM_STDOUT {
			continue
		}
		for line := range bytes.Lines(event.GetOutput().GetData()) {
			if lines > 0 {
				os.Stdout.Write(line)
			}
			if bytes.HasSuffix(line, []byte("\n")) {
				lines--
			}
		}
	}
	return id, nil
}
