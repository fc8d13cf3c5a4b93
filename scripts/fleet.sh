#!/usr/bin/env bash
# Runs a whole fleet on real RabbitMQ and MariaDB servers (see services.sh and
# test/fleet), and passes its arguments on.
set -euo pipefail

cd "$(dirname "$0")/.."
# Thousands of endpoints need as many connections.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
mkdir -p .cache
go build -o .cache/fleet ./test/fleet
export TASKER_FLEET_RESTART="$PWD/scripts/services.sh restart-rabbitmq"
exec scripts/services.sh run .cache/fleet "$@"
