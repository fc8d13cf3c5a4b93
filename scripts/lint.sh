#!/usr/bin/env bash
# Runs all static checks, even after one has failed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
failed=()

check() { # NAME COMMAND...
	local name=$1
	shift
	echo "lint: $name"
	"$@" || failed+=("$name")
}

formatted() {
	local files
	files=$(git ls-files -z --cached --others --exclude-standard '*.go' |
		while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done | xargs -0 -r gofmt -l)
	[ -z "$files" ] || {
		printf 'not formatted: run make fmt:\n%s\n' "$files"
		return 1
	}
}

# nested runs go in a module of its own, which ./... does not include.
nested() { # DIRECTORY ARGUMENTS...
	(cd "$1" && go "${@:2}")
}

check gofmt formatted
check "go vet" go vet ./...
check "go mod tidy" go mod tidy -diff
check golangci-lint go tool -modfile=tools/go.mod golangci-lint run ./...
for module in test/chaos test/browser; do
	check "go vet of $module" nested $module vet ./...
	check "go mod tidy of $module" nested $module mod tidy -diff
	check "golangci-lint of $module" nested $module tool -modfile=../../tools/go.mod golangci-lint run ./...
done
if command -v shellcheck >/dev/null 2>&1; then
	check shellcheck shellcheck -x -P "$root" scripts/*.sh .ci/run packaging/p{ostinst,ostrm,rerm}
else
	echo "lint: shellcheck is not installed: shell scripts not checked"
fi

if [ ${#failed[@]} -gt 0 ]; then
	printf 'lint: failed: %s\n' "${failed[*]}" >&2
	exit 1
fi
echo "lint: passed"
