// Client runs commands through remexd, as if they were local.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	remexv1 "remex.example/client/gen/remex/v1"
)

const usage = `usage: client VERB [SERVER] [FLAG]... -- PROGRAM ARG...
  run      with live output, stdin and signals; -timeout SECONDS, -terminal, -user USER
  capture  to its end, then print its output; -max-bytes N, -gzip
  head     print the first lines of stdout, and break off; -lines N
  start    start what runs on by itself, and print its id
usage: client attach [SERVER] [-after EVENT] [-outputs N] -- ID
           join it, behind the event that was seen last; leave it alone again behind N outputs
SERVER is -server HOST:PORT or unix:/PATH; over TLS
  -server https://HOST:PORT [-ca FILE] [-cert FILE -key FILE] [-token-file FILE]`

// An action does what a verb says, and returns the exit code.
type action func(ctx context.Context, client remexv1.ExecServiceClient, argv []string) (int, error)

func main() {
	if len(os.Args) < 2 {
		exitWithUsage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	var server server
	server.addFlags(flags)
	var act action
	switch flags.Name() {
	case "run":
		act = runVerb(flags)
	case "capture":
		act = captureVerb(flags)
	case "head":
		act = headVerb(flags)
	case "start":
		act = startVerb(flags)
	case "attach":
		act = attachVerb(flags)
	default:
		exitWithUsage()
	}
	flags.Parse(os.Args[2:])
	if flags.NArg() == 0 {
		exitWithUsage()
	}
	code, err := call(&server, act, flags.Args())
	if err != nil {
		text, failed := describe(err)
		fmt.Fprintln(os.Stderr, "client:", text)
		code = failed
	}
	os.Exit(code)
}

// call does act at server. What is still under way then ends with the connection.
func call(server *server, act action, argv []string) (int, error) {
	conn, err := server.connect()
	if err != nil {
		return failure, err
	}
	defer conn.Close()
	return act(context.Background(), remexv1.NewExecServiceClient(conn), argv)
}

func exitWithUsage() {
	fmt.Fprintln(os.Stderr, usage)
	os.Exit(2)
}
