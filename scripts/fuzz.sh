#!/usr/bin/env bash
# Runs every fuzz target of the project, each for some seconds (10 by default):
# fuzz.sh [SECONDS]. It ends with 1 where a target failed, and names the input
# that does it, which the next go test runs again.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

[ $# -le 1 ] || die "it takes one number of seconds, and got: $*"
seconds=${1:-10}
case $seconds in
'' | *[!0-9]* | 0*) die "the time must be a whole number of seconds, and at least 1: $seconds" ;;
esac
# The race detector would leave time for a tenth of the inputs.
unset GOFLAGS

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
targets=0
while IFS=: read -r file name; do
	package=$(dirname "$file")
	targets=$((targets + 1))
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "${seconds}s" "$package" >"$log" 2>&1; then
		printf 'fuzz: ok    %s %s: %s\n' "$package" "$name" "$(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
		continue
	fi
	failed=1
	printf 'fuzz: FAIL  %s %s\n' "$package" "$name"
	cat "$log"
	input=$(sed -n 's/.*Failing input written to //p' "$log" | head -n 1)
	[ -z "$input" ] || printf 'fuzz: the input is %s/%s\n' "$package" "$input"
done < <(grep -roE --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/' | sort)
[ "$targets" -gt 0 ] || die "there is no fuzz target"
exit "$failed"
