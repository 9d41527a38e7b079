package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/durationpb"

	remexv1 "remex.example/client/gen/remex/v1"
)

// runVerb is Interact: a command as if it were local, with live output, stdin, signals, a terminal.
func runVerb(flags *flag.FlagSet) action {
	timeout := flags.Float64("timeout", 0, "end the command after so many `seconds`")
	terminal := flags.Bool("terminal", false, "give it a terminal like ours")
	user := flags.String("user", "", "run it as this user")
	return func(ctx context.Context, client remexv1.ExecServiceClient, argv []string) (int, error) {
		command := &remexv1.Command{Argv: argv, User: *user}
		if *timeout > 0 {
			command.Timeout = durationpb.New(time.Duration(*timeout * float64(time.Second)))
		}
		if *terminal {
			size, err := windowSize()
			if err != nil {
				return failure, err
			}
			command.Terminal = &remexv1.Terminal{Rows: size.Rows, Columns: size.Columns}
			// Every key is passed on, Ctrl-C too: the command's terminal does what is to be done.
			before, err := term.MakeRaw(int(os.Stdin.Fd()))
			if err != nil {
				return failure, err
			}
			defer term.Restore(int(os.Stdin.Fd()), before)
		}
		return run(ctx, client, command)
	}
}

// run runs the command, and returns its exit code.
func run(ctx context.Context, client remexv1.ExecServiceClient, command *remexv1.Command) (int, error) {
	if command.GetUser() != "" {
		if err := require(ctx, client, "user"); err != nil {
			return failure, err
		}
	}
	// Cancelling is the caller's going away, which ends the command.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Interact(ctx)
	if err != nil {
		return failure, err
	}
	start := &remexv1.StartRequest{Command: command}
	first := &remexv1.InteractRequest{Message: &remexv1.InteractRequest_Start{Start: start}}
	// An error of Send is only io.EOF: Recv tells why.
	if err := stream.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return failure, err
	}
	requests := make(requests)
	go requests.send(ctx, stream)
	go requests.forwardSignals(ctx, watchSignals(command.GetTerminal() != nil))
	window := newWindow()
	go requests.forwardStdin(ctx, window)
	return receive(stream, window, 0)
}

// require fails if the server is older than a field: it would drop it unseen, and do something else than was asked for.
func require(ctx context.Context, client remexv1.ExecServiceClient, feature string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	info, err := client.GetServerInfo(ctx, &remexv1.GetServerInfoRequest{})
	if err != nil {
		return err
	}
	if !slices.Contains(info.GetFeatures(), feature) {
		return fmt.Errorf("the server is of version %s, which has no %s", info.GetVersion(), feature)
	}
	return nil
}

// receive writes output as it comes; the exit code is in the last event. It leaves the command behind so many outputs; 0:
// never.
func receive(stream remexv1.ExecService_InteractClient, window *window, outputs int) (int, error) {
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return failure, errors.New("the server stopped telling what the command does")
		}
		if err != nil {
			return failure, err
		}
		window.accepted(response.GetStdinAcceptedBytes())
		switch event := response.GetEvent().GetKind().(type) {
		case *remexv1.Event_Output:
			if err := write(event.Output); err != nil {
				return failure, err
			}
			if outputs--; outputs == 0 {
				fmt.Fprintln(os.Stderr, "client: left behind event", response.GetEvent().GetSequence())
				return 0, nil
			}
		case *remexv1.Event_Exited:
			return exitCode(event.Exited.GetExit())
		}
	}
}

func write(output *remexv1.Output) error {
	out := os.Stdout
	if output.GetStream() == remexv1.Output_STREAM_STDERR {
		out = os.Stderr
	}
	_, err := out.Write(output.GetData())
	return err
}
