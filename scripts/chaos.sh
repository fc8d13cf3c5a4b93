#!/usr/bin/env bash
# Tests tasker under faults: see test/chaos. Arguments are passed to the chaos
# command; scripts/chaos.sh -help lists them. It starts its own servers, on
# loopback, and leaves nothing behind except the files of a run with violations.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

[ "$(uname -s)" = Linux ] || die "the chaos command needs Linux"
PATH=$PATH:/usr/sbin:/sbin
packages=()
command -v mariadbd mariadb-install-db | wc -l | grep -q 2 || packages+=(mariadb-server-core mariadb-client-core)
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
if [ ${#packages[@]} -gt 0 ]; then
	install_quietly "${packages[@]}"
	# It is installed only for tests: keep the system's own broker off.
	as_root systemctl disable rabbitmq-server >/dev/null 2>&1 || true
fi
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

cd "$root/test/chaos"
mkdir -p "$root/.cache"
go build -o "$root/.cache/chaos" .
exec "$root/.cache/chaos" "$@"
