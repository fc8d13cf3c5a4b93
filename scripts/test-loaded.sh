#!/usr/bin/env bash
# Runs make test several times on a busy machine: with a busy loop for each
# core, and with the descriptors 3 to 9 open, as a shell may have them. A test
# that passes only where it is quiet fails here.
#
#   scripts/test-loaded.sh [-n RUNS] [-l LOOPS] [-m MINUTES] [GO TEST ARGUMENTS]
#
#   -n RUNS     how many times in a row (3)
#   -l LOOPS    busy loops (as many as there are cores)
#   -m MINUTES  limit for all runs together (120)
#
# It ends at the first run that fails, with that run's exit code (124 after the
# limit), and its busy loops end with it, however it ends.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

usage() { sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"; }

whole() { # OPTION VALUE
	[[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "invalid $1: must be a whole number from 1 on: $2"
}

runs=3
loops=$(nproc)
minutes=120
while getopts n:l:m:h option; do
	case $option in
	n) whole -n "$OPTARG" && runs=$OPTARG ;;
	l) whole -l "$OPTARG" && loops=$OPTARG ;;
	m) whole -m "$OPTARG" && minutes=$OPTARG ;;
	h) usage && exit ;;
	*) usage >&2 && exit 2 ;;
	esac
done
shift $((OPTIND - 1))
deadline=$((SECONDS + minutes * 60))

# busy keeps a core busy until it is ended, and no longer than this script lives
# or the limit allows: a kill -9 leaves no loop behind.
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

# Results of the run before are not taken from go's cache.
export GOFLAGS="${GOFLAGS-} -count=1"
for ((run = 1; run <= runs; run++)); do
	left=$((deadline - SECONDS))
	[ "$left" -gt 0 ] || {
		say "test-loaded: run $run of $runs was not begun: $minutes minutes have passed"
		exit 124
	}
	say "test-loaded: run $run of $runs, with $loops busy loops"
	begun=$SECONDS
	# A process group of its own, so that all of it can be ended.
	set -m
	timeout --foreground --kill-after=60 "$left" "${TASKER_TEST_COMMAND:-$root/scripts/test.sh}" "$@" &
	test_pid=$!
	set +m
	rc=0
	wait "$test_pid" || rc=$?
	test_pid=
	if [ "$rc" -ne 0 ]; then
		say "test-loaded: FAILED: run $run of $runs, exit code $rc, after $((SECONDS - begun)) s"
		exit "$rc"
	fi
	say "test-loaded: run $run of $runs passed in $((SECONDS - begun)) s"
done
say "test-loaded: all well: $runs runs with $loops busy loops"
