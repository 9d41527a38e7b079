package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	remexv1 "remex.example/client/gen/remex/v1"
)

const (
	chunkBytes = 64 << 10
	// stdin on its way and not yet accepted; below 1 MiB, so that signals always get through.
	windowBytes = 256 << 10
)

// requests are the messages that follow the first. One goroutine sends them all: a stream takes one Send at a time.
type requests chan *remexv1.InteractRequest

func (r requests) send(ctx context.Context, stream remexv1.ExecService_InteractClient) {
	for {
		select {
		case request := <-r:
			if stream.Send(request) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r requests) put(ctx context.Context, request *remexv1.InteractRequest) {
	select {
	case r <- request:
	case <-ctx.Done():
	}
}

// watchSignals has signals come by the channel from now on.
func watchSignals(terminal bool) <-chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if terminal {
		signal.Notify(signals, syscall.SIGWINCH)
	}
	return signals
}

// forwardSignals passes signals on by number: Linux's, here and there.
func (r requests) forwardSignals(ctx context.Context, signals <-chan os.Signal) {
	for received := range signals {
		request := &remexv1.InteractRequest{}
		if received == syscall.SIGWINCH {
			size, err := windowSize()
			if err != nil {
				continue
			}
			request.Message = &remexv1.InteractRequest_Resize{Resize: size}
		} else {
			number := remexv1.Signal(received.(syscall.Signal))
			request.Message = &remexv1.InteractRequest_Signal{Signal: number}
		}
		r.put(ctx, request)
	}
}

func windowSize() (*remexv1.WindowSize, error) {
	columns, rows, err := term.GetSize(int(os.Stdin.Fd()))
	return &remexv1.WindowSize{Rows: uint32(rows), Columns: uint32(columns)}, err
}

func (r requests) forwardStdin(ctx context.Context, window *window) {
	var offset uint64
	for {
		data := make([]byte, chunkBytes)
		n, err := os.Stdin.Read(data)
		chunk := &remexv1.StdinChunk{Offset: proto.Uint64(offset), Data: data[:n], Eof: err != nil}
		offset += uint64(n)
		window.sent(n)
		r.put(ctx, &remexv1.InteractRequest{Message: &remexv1.InteractRequest_StdinChunk{StdinChunk: chunk}})
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
