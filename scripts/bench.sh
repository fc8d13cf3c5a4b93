#!/usr/bin/env bash
# Runs the benchmark on real RabbitMQ and MariaDB servers (see services.sh), and
# passes its arguments on.
set -euo pipefail

cd "$(dirname "$0")/.."
mkdir -p .cache
go build -o .cache/bench ./test/bench
exec scripts/services.sh run .cache/bench "$@"
