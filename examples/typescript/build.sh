#!/bin/sh
# Makes node_modules (the libraries), src/gen (the stubs) and dist (the client).
set -eu
cd "$(dirname "$0")"

npm ci --silent --no-audit --no-fund
npm run --silent generate
npm run --silent build
