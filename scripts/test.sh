#!/usr/bin/env bash
# Runs the tests under the race detector, with the real services; see
# services.sh. Arguments go to go test; without any, all packages are tested.
# What every test did is kept in .cache/test.json.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

# The race detector is linked with C.
if ! printf '#include <stdlib.h>\nint main(void){return 0;}\n' |
	"${CC:-cc}" -x c -o /dev/null - 2>/dev/null; then
	[ -z "${CC-}" ] || die "CC=$CC cannot compile C, which the race detector needs"
	install_quietly gcc libc6-dev
fi

# Some handlers' tests run programs in Python.
command -v python3 >/dev/null || install_quietly python3

mkdir -p .cache
export CGO_ENABLED=1 TASKER_TEST_REQUIRE_SERVICES=1
if [ $# -eq 0 ]; then
	# A module of its own, for its dependencies.
	(cd test/chaos && go test -race ./...)
	set -- ./...
fi
# Built here, so that the tests and not the tools meet the services' time.
go tool -modfile=tools/go.mod -n gotestsum >/dev/null
exec scripts/services.sh run \
	go tool -modfile=tools/go.mod gotestsum \
	--format "${TEST_FORMAT:-pkgname-and-test-fails}" --format-hide-empty-pkg --jsonfile .cache/test.json -- \
	-race -timeout "${TEST_TIMEOUT:-30m}" "$@"
