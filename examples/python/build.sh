#!/bin/sh
# Makes .venv (the libraries) and gen (the stubs). What is there and current stays as it is.
set -eu
cd "$(dirname "$0")"

if ! cmp -s requirements.txt .venv/requirements.txt; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt .venv/requirements.txt
    rm -rf gen
fi

protos='remex/v1/exec.proto remex/v1/echo.proto'
sum=$(cd ../../proto && cat $protos | cksum)
if [ "$(cat gen/sum 2>/dev/null)" != "$sum" ]; then
    rm -rf gen
    mkdir gen
    .venv/bin/python -m grpc_tools.protoc -I ../../proto --python_out=gen --pyi_out=gen --grpc_python_out=gen $protos
    echo "$sum" > gen/sum
fi
