#!/usr/bin/env bash
# Runs the benchmark with the real services; see services.sh. Arguments go to
# the benchmark.
set -euo pipefail

cd "$(dirname "$0")/.."
mkdir -p .cache
go build -o .cache/bench ./test/bench
exec scripts/services.sh run .cache/bench "$@"
