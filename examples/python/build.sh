#!/bin/sh
# Makes .venv (the libraries) and remex (the stubs).
set -eu
cd "$(dirname "$0")"

python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -m grpc_tools.protoc -I ../../proto --python_out=. --pyi_out=. --grpc_python_out=. \
    remex/v1/exec.proto remex/v1/echo.proto
