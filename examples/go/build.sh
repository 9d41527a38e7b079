#!/bin/sh
# Makes gen (the stubs, and the program remex-run), with buf from PyPI in .venv and the plugins that go.mod pins. What is
# there and current stays as it is.
set -eu
cd "$(dirname "$0")"

protos='../../proto/remex/v1/exec.proto ../../proto/remex/v1/echo.proto'
sum=$(cat $protos buf.gen.yaml go.sum requirements.txt | cksum)
if [ "$(cat gen/sum 2>/dev/null)" != "$sum" ]; then
    if ! cmp -s requirements.txt .venv/requirements.txt; then
        rm -rf .venv
        python3 -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
        cp requirements.txt .venv/requirements.txt
    fi
    rm -rf gen
    .venv/bin/buf generate
    echo "$sum" > gen/sum
fi
go vet ./...
go build -o gen/remex-run .
