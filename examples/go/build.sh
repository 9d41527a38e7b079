#!/bin/sh
# Makes bin (the generators, and the client) and gen (the stubs).
set -eu
cd "$(dirname "$0")"

GOBIN=$PWD/bin go install tool
mkdir -p gen
PATH=$PWD/bin:$PATH protoc -I ../../proto \
    --go_out=gen --go_opt=paths=source_relative --go-grpc_out=gen --go-grpc_opt=paths=source_relative \
    remex/v1/exec.proto remex/v1/echo.proto
go build -o bin/client .
