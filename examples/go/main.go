// Remex-run runs a command through remexd as if it were local: output as it comes, stdin, signals, exit code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	remexv1 "remex.example/run/gen/remex/v1"
)

const (
	chunkBytes = 64 << 10
	// stdin on its way and not yet accepted; kept small, so that signals always get through.
	windowBytes = 256 << 10
	failure     = 255
)

func main() {
	server := flag.String("server", "127.0.0.1:50051", "`HOST:PORT` or unix:/PATH")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: remex-run [-server HOST:PORT] -- PROGRAM ARG...")
		os.Exit(failure)
	}
	code, err := run(context.Background(), *server, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "remex-run:", describe(err))
	}
	os.Exit(code)
}

// run runs argv at server and returns the exit code.
func run(ctx context.Context, server string, argv []string) (int, error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return failure, err
	}
	defer conn.Close()
	// Cancelling is the caller's going away, which ends the command.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := remexv1.NewExecServiceClient(conn).Interact(ctx)
	if err != nil {
		return failure, err
	}
	start := &remexv1.StartRequest{Command: &remexv1.Command{Argv: argv}}
	first := &remexv1.InteractRequest{Message: &remexv1.InteractRequest_Start{Start: start}}
	// An error of Send is only io.EOF: Recv tells why.
	if err := stream.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return failure, err
	}
	requests := make(chan *remexv1.InteractRequest)
	go send(ctx, stream, requests)
	go forwardSignals(ctx, requests)
	window := newWindow()
	go forwardStdin(ctx, window, requests)
	return receive(stream, window)
}

// receive writes output as it comes, and returns the exit code at the end.
func receive(stream remexv1.ExecService_InteractClient, window *window) (int, error) {
	for {
		response, err := stream.Recv()
		if err != nil {
			return statusOf(err), err
		}
		window.accepted(response.GetStdinAcceptedBytes())
		switch event := response.GetEvent(); {
		case event.GetOutput() != nil:
			out := os.Stdout
			if event.GetOutput().GetStream() == remexv1.Output_STREAM_STDERR {
				out = os.Stderr
			}
			if _, err := out.Write(event.GetOutput().GetData()); err != nil {
				return failure, err
			}
		case event.GetExited() != nil:
			return exitCode(event.GetExited().GetExit())
		}
	}
}

// exitCode is the exit code that a shell would see.
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
	return failure, errors.New(exit.GetReason().String())
}

// send is the one that sends: a stream takes one Send at a time.
func send(ctx context.Context, stream remexv1.ExecService_InteractClient, requests <-chan *remexv1.InteractRequest) {
	for {
		select {
		case request := <-requests:
			if stream.Send(request) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func put(ctx context.Context, requests chan<- *remexv1.InteractRequest, request *remexv1.InteractRequest) {
	select {
	case requests <- request:
	case <-ctx.Done():
	}
}

func forwardSignals(ctx context.Context, requests chan<- *remexv1.InteractRequest) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	for received := range signals {
		number := remexv1.Signal(received.(syscall.Signal))
		put(ctx, requests, &remexv1.InteractRequest{Message: &remexv1.InteractRequest_Signal{Signal: number}})
	}
}

func forwardStdin(ctx context.Context, window *window, requests chan<- *remexv1.InteractRequest) {
	for {
		data := make([]byte, chunkBytes)
		n, err := os.Stdin.Read(data)
		chunk := &remexv1.StdinChunk{Data: data[:n], Eof: err != nil}
		window.sent(n)
		put(ctx, requests, &remexv1.InteractRequest{Message: &remexv1.InteractRequest_StdinChunk{StdinChunk: chunk}})
		if err != nil {
			return
		}
	}
}

// window keeps account of stdin that was sent and is not yet accepted.
type window struct {
	mutex    sync.Mutex
	moved    *sync.Cond
	onTheWay int64
	position uint64
}

func newWindow() *window {
	w := &window{}
	w.moved = sync.NewCond(&w.mutex)
	return w
}

// sent waits until there is room, and takes n bytes of it.
func (w *window) sent(n int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for w.onTheWay >= windowBytes {
		w.moved.Wait()
	}
	w.onTheWay += int64(n)
}

func (w *window) accepted(position uint64) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.onTheWay -= int64(position - w.position)
	w.position = position
	w.moved.Signal()
}

// reason is why the server refused, as a program can tell it; empty if remex did not say.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == "remex" {
			return info.GetReason()
		}
	}
	return ""
}

func statusOf(err error) int {
	switch reason(err) {
	case "PROGRAM_NOT_FOUND":
		return 127
	case "PROGRAM_NOT_EXECUTABLE":
		return 126
	default:
		return failure
	}
}

func describe(err error) string {
	refusal, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	why := reason(err)
	if why == "" {
		why = refusal.Code().String()
	}
	return fmt.Sprintf("%s (%s)", refusal.Message(), why)
}
