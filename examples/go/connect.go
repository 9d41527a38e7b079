package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Run answers with up to 16 MiB of stdout and as much of stderr; grpc-go takes 4 MiB unless it is told.
const maxAnswerBytes = 33 << 20

// A server is where remexd listens, and the files of what it and we know each other by.
type server struct {
	address, ca, cert, key, tokenFile string
}

func (s *server) addFlags(flags *flag.FlagSet) {
	flags.StringVar(&s.address, "server", "127.0.0.1:50051", "`HOST:PORT`, https://HOST:PORT for TLS, or unix:/PATH")
	flags.StringVar(&s.ca, "ca", "", "over TLS: the CAs that the server's certificate may be signed by, a `file`")
	flags.StringVar(&s.cert, "cert", "", "over TLS: our certificate, a `file`")
	flags.StringVar(&s.key, "key", "", "over TLS: its key, a `file`")
	flags.StringVar(&s.tokenFile, "token-file", "", "over TLS: our token, a `file`")
}

// connect connects with the first call.
func (s *server) connect() (*grpc.ClientConn, error) {
	target, isTLS := strings.CutPrefix(s.address, "https://")
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		// HTTPS_PROXY in the environment is meant for the web.
		grpc.WithNoProxy(),
	}
	if !isTLS {
		if s.ca+s.cert+s.key+s.tokenFile != "" {
			return nil, errors.New("certificates and tokens are for TLS: -server https://HOST:PORT")
		}
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
		return grpc.NewClient(target, options...)
	}
	config, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if s.tokenFile != "" {
		token, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer(strings.TrimSpace(string(token)))))
	}
	return grpc.NewClient(target, options...)
}

// tlsConfig is what the server and we know each other by. Without a CA, those that this machine trusts are trusted.
func (s *server) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{}
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", s.ca)
		}
	}
	if s.cert != "" || s.key != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// A bearer is a token that each call carries.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity has grpc-go refuse to send it without TLS.
func (bearer) RequireTransportSecurity() bool { return true }
