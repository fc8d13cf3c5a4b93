#!/usr/bin/env bash
# Runs every fuzz target, each for 10 seconds: fuzz.sh [SECONDS]. If a target
# fails it prints the failing input, which go test runs from then on, and exits
# with 1.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
cd "$root"

[ $# -le 1 ] || die "too many arguments: usage: fuzz.sh [SECONDS]"
seconds=${1:-10}
case $seconds in
'' | *[!0-9]* | 0*) die "invalid number of seconds $seconds: must be a whole number, at least 1" ;;
esac
# Under the race detector a tenth of the inputs would be tried.
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
	[ -z "$input" ] || printf 'fuzz: failing input: %s/%s\n' "$package" "$input"
done < <(grep -roE --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/' | sort)
[ "$targets" -gt 0 ] || die "no fuzz target found"
exit "$failed"
