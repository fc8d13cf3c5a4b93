#!/usr/bin/env bash
# Tests the dashboard in Chromium, with the rules of axe-core for people who cannot see
# or use a mouse. Arguments are passed to go test; the default is all tests.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

axe_version=4.14.1
axe_sha256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c

command -v chromium >/dev/null || install_quietly chromium
axe=$root/.cache/axe/axe.min.js
if ! printf '%s  %s\n' "$axe_sha256" "$axe" | sha256sum --check --status 2>/dev/null; then
	command -v npm >/dev/null || install_quietly npm
	say "downloading axe-core $axe_version"
	rm -rf "${axe%/*}"
	mkdir -p "${axe%/*}"
	cd "${axe%/*}"
	npm pack --silent "axe-core@$axe_version" >/dev/null
	tar -xzf axe-core-*.tgz --strip-components=1 package/axe.min.js
	rm axe-core-*.tgz
	printf '%s  %s\n' "$axe_sha256" "$axe" | sha256sum --check --status ||
		die "axe-core $axe_version is not what it was: $axe has another SHA-256"
fi
[ $# -gt 0 ] || set -- ./...
cd "$root/test/browser"
exec go test -count=1 -timeout 15m "$@"
