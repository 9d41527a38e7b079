package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Run answers with up to 16 MiB of stdout and as much of stderr; grpc-go takes 4 MiB unless it is told.
const maxAnswerBytes = 33 << 20

// connect is a connection to HOST:PORT or unix:/PATH.
func connect(server string) (*grpc.ClientConn, error) {
	return grpc.NewClient(server,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		// HTTPS_PROXY in the environment is meant for the web.
		grpc.WithNoProxy())
}
