#!/usr/bin/env bash
# Runs the tests on a RabbitMQ cluster of three nodes, for about three minutes.
# They start the nodes and MariaDB themselves, on free ports of 127.0.0.1.
# Arguments are passed to go test.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

[ "$(uname -s)" = Linux ] || die "the cluster needs Linux"
PATH=$PATH:/usr/sbin:/sbin
packages=()
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
if ! command -v mariadbd || ! command -v mariadb-install-db; then
	packages+=(mariadb-server-core)
fi >/dev/null
if [ ${#packages[@]} -gt 0 ]; then
	install_quietly "${packages[@]}"
	# It is installed only for tests: keep the system's own broker off.
	as_root systemctl disable rabbitmq-server >/dev/null 2>&1 || true
fi
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec "${GO:-go}" test -tags cluster -count 1 -v -timeout "${TEST_TIMEOUT:-15m}" "$@" ./test/cluster/...
