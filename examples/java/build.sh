#!/bin/sh
# Makes target: the stubs, the client and the libraries.
set -eu
cd "$(dirname "$0")"

mvn --quiet --batch-mode package
