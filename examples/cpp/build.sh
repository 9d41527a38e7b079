#!/bin/sh
# Makes build: the stubs and the client.
set -eu
cd "$(dirname "$0")"

cmake -S . -B build
cmake --build build
