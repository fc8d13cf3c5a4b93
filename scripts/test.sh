#!/usr/bin/env bash
# Runs the tests under the race detector, on real RabbitMQ and MariaDB servers
# (see services.sh). Arguments are passed to go test; the default is all packages.
# The output of every test is in .cache/test.json.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

# The race detector needs a C compiler.
if ! printf '#include <stdlib.h>\nint main(void){return 0;}\n' |
	"${CC:-cc}" -x c -o /dev/null - 2>/dev/null; then
	[ -z "${CC-}" ] || die "CC=$CC cannot compile C, which the race detector needs"
	install_quietly gcc libc6-dev
fi

# Some tests of handlers run Python programs, and one endpoint is in JavaScript.
command -v python3 >/dev/null || install_quietly python3
command -v node >/dev/null || install_quietly nodejs
command -v npm >/dev/null || install_quietly npm

# SQLite is C translated to Go: the race detector has nothing to find in its own
# memory, and makes it four times as slow. Its driver is watched as all else is.
race=(-race '-gcflags=modernc.org/...=-race=false -d=checkptr=0')

mkdir -p .cache
export CGO_ENABLED=1 TASKER_TEST_REQUIRE_SERVICES=1
if [ $# -eq 0 ]; then
	# It is a separate module because of its dependencies.
	(cd test/chaos && go test "${race[@]}" ./...)
	set -- ./...
fi
# Build it before the services are started.
go tool -modfile=tools/go.mod -n gotestsum >/dev/null
exec scripts/services.sh run \
	go tool -modfile=tools/go.mod gotestsum \
	--format "${TEST_FORMAT:-pkgname-and-test-fails}" --format-hide-empty-pkg --jsonfile .cache/test.json -- \
	"${race[@]}" -timeout "${TEST_TIMEOUT:-30m}" "$@"
