#!/usr/bin/env bash
# Runs make test several times on a busy machine: with a busy loop on each core,
# and with descriptors 3 to 9 open, as some shells leave them. It finds tests that
# pass only on an idle machine.
#
#   scripts/test-loaded.sh [-n RUNS] [-l LOOPS] [-m MINUTES] [GO TEST ARGUMENTS]
#
#   -n RUNS     how many times in a row (3)
#   -l LOOPS    number of busy loops (the number of cores)
#   -m MINUTES  limit for all runs together (120)
#
# It stops at the first run that fails, with that run's exit code (124 at the
# limit). The busy loops always end with it.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

usage() { sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"; }

require_whole() { # OPTION VALUE
	[[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "invalid $1 $2: must be a whole number, at least 1"
}

runs=3
loops=$(nproc)
minutes=120
while getopts n:l:m:h option; do
	case $option in
	n) require_whole -n "$OPTARG" && runs=$OPTARG ;;
	l) require_whole -l "$OPTARG" && loops=$OPTARG ;;
	m) require_whole -m "$OPTARG" && minutes=$OPTARG ;;
	h) usage && exit ;;
	*) usage >&2 && exit 2 ;;
	esac
done
shift $((OPTIND - 1))
deadline=$((SECONDS + minutes * 60))

# busy keeps a core busy until it is killed, this script has ended (even by
# kill -9), or the limit is over.
busy() {
	trap - EXIT INT TERM
	while [ -d "/proc/$$" ] && [ $SECONDS -le $((deadline + 60)) ]; do :; done
}

pids=()
test_pid=
# shellcheck disable=SC2317 # called by the traps
finish() {
	trap '' INT TERM
	if [ -n "$test_pid" ]; then
		kill -TERM -- "-$test_pid" 2>/dev/null || true
		wait "$test_pid" || true
	fi
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for ((i = 0; i < loops; i++)); do
	busy </dev/null >/dev/null 2>&1 &
	pids+=("$!")
done
exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null 9</dev/null

# Do not take results from go's cache.
export GOFLAGS="${GOFLAGS-} -count=1"
for ((run = 1; run <= runs; run++)); do
	left=$((deadline - SECONDS))
	[ "$left" -gt 0 ] || {
		say "test-loaded: run $run of $runs not started: the limit of $minutes minutes has passed"
		exit 124
	}
	say "test-loaded: run $run of $runs, with $loops busy loops"
	started=$SECONDS
	# Its own process group, so that all of it can be ended.
	set -m
	timeout --foreground --kill-after=60 "$left" "${TASKER_TEST_COMMAND:-$root/scripts/test.sh}" "$@" &
	test_pid=$!
	set +m
	rc=0
	wait "$test_pid" || rc=$?
	test_pid=
	if [ "$rc" -ne 0 ]; then
		say "test-loaded: FAILED: run $run of $runs, exit code $rc, after $((SECONDS - started)) s"
		exit "$rc"
	fi
	say "test-loaded: run $run of $runs passed in $((SECONDS - started)) s"
done
say "test-loaded: passed: $runs runs with $loops busy loops"
