package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"

	remexv1 "remex.example/client/gen/remex/v1"
)

// captureVerb is Run: a command to its end, and its whole output in one answer.
func captureVerb(flags *flag.FlagSet) action {
	maxBytes := flags.Uint64("max-bytes", 0, "of stdout and stderr each, up to 16777216")
	compress := flags.Bool("gzip", false, "compress the request")
	return func(ctx context.Context, client remexv1.ExecServiceClient, argv []string) (int, error) {
		var options []grpc.CallOption
		if *compress {
			options = append(options, grpc.UseCompressor(gzip.Name))
		}
		return capture(ctx, client, *maxBytes, argv, options...)
	}
}

// capture runs argv with our stdin, prints its output, and returns its exit code.
func capture(ctx context.Context, client remexv1.ExecServiceClient, maxBytes uint64, argv []string, options ...grpc.CallOption) (int, error) {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return failure, err
	}
	answer, err := client.Run(ctx, &remexv1.RunRequest{
		Command:        &remexv1.Command{Argv: argv},
		StdinData:      stdin,
		MaxOutputBytes: maxBytes,
	}, options...)
	if err != nil {
		return failure, err
	}
	os.Stdout.Write(answer.GetStdoutData())
	os.Stderr.Write(answer.GetStderrData())
	if answer.GetStdoutTruncated() || answer.GetStderrTruncated() {
		total := answer.GetStdoutBytesTotal() + answer.GetStderrBytesTotal()
		fmt.Fprintf(os.Stderr, "client: cut, of %d bytes in all\n", total)
	}
	return exitCode(answer.GetExit())
}
