package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	remexv1 "remex.example/client/gen/remex/v1"
)

// startVerb is Start of a command that runs on without us, whatever becomes of its callers and of remexd.
func startVerb(_ *flag.FlagSet) action {
	return start
}

// start starts argv, prints its id, and leaves it alone.
func start(ctx context.Context, client remexv1.ExecServiceClient, argv []string) (int, error) {
	if err := require(ctx, client, "durable"); err != nil {
		return failure, err
	}
	stream, err := client.Start(ctx, &remexv1.StartRequest{
		Command:      &remexv1.Command{Argv: argv},
		OnDisconnect: remexv1.OnDisconnect_ON_DISCONNECT_DETACH,
		// For those who attach to it.
		StdinOpen: true,
	})
	if err != nil {
		return failure, err
	}
	response, err := stream.Recv()
	if err != nil {
		return failure, err
	}
	started := response.GetEvent().GetStarted()
	if started == nil {
		return failure, errors.New("the server did not start the command")
	}
	fmt.Println(started.GetExecutionId())
	return 0, nil
}
