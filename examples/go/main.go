// Client runs commands through remexd, as if they were local.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

const usage = `usage: client VERB [-server HOST:PORT|unix:/PATH] [FLAG]... -- PROGRAM ARG...
  run      with live output, stdin and signals; -timeout SECONDS, -terminal, -user USER
  capture  to its end, then print its output; -max-bytes N, -gzip
  head     print the first lines of stdout, and break off; -lines N
  start    start what runs on by itself, and print its id
usage: client attach [-server HOST:PORT|unix:/PATH] [-after EVENT] [-outputs N] -- ID
           join it, behind the event that was seen last; leave it alone again behind N outputs`

// An action does what a verb says, and returns the exit code.
type action func(ctx context.Context, server string, argv []string) (int, error)

func main() {
	if len(os.Args) < 2 {
		exitWithUsage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	server := flags.String("server", "127.0.0.1:50051", "`HOST:PORT` or unix:/PATH")
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
	code, err := act(context.Background(), *server, flags.Args())
	if err != nil {
		text, failed := describe(err)
		fmt.Fprintln(os.Stderr, "client:", text)
		code = failed
	}
	os.Exit(code)
}

func exitWithUsage() {
	fmt.Fprintln(os.Stderr, usage)
	os.Exit(2)
}
