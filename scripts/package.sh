#!/usr/bin/env bash
# Makes a Debian package of tasker in dist, with its systemd units, users, shell
# completion, manual pages and an example of a configuration, and prints its path.
#
#   scripts/package.sh [amd64|arm64]
#
# The architecture is by default that of this machine. VERSION is by default that of
# the last tag in git. The same source and version make the same bytes.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/release-lib.sh
. "$root/scripts/release-lib.sh"

cd "$root"
umask 022
arch=${1:-$(go env GOHOSTARCH)}
check_arch "$arch"
version=$(release_version)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage

build_release "$arch" "$stage/usr/bin/tasker"
# Completion comes from the program; one for this machine can run here.
host=$stage/usr/bin/tasker
if [ "$arch" != "$(go env GOHOSTARCH)" ]; then
	host=$work/tasker
	build_release "$(go env GOHOSTARCH)" "$host"
fi
completion() { # SHELL FILE
	mkdir -p "$(dirname "$stage$2")"
	"$host" completion "$1" >"$stage$2"
}
completion bash /usr/share/bash-completion/completions/tasker
completion zsh /usr/share/zsh/vendor-completions/_tasker
completion fish /usr/share/fish/vendor_completions.d/tasker.fish

for unit in scripts/systemd/*.service; do
	install -D -m 644 "$unit" "$stage/usr/lib/systemd/system/$(basename "$unit")"
done
sed -i 's#^ExecStart=/usr/local/bin/#ExecStart=/usr/bin/#' "$stage"/usr/lib/systemd/system/*.service
install -D -m 644 scripts/systemd/sysusers.conf "$stage/usr/lib/sysusers.d/tasker.conf"
install -D -m 644 scripts/systemd/tmpfiles.conf "$stage/usr/lib/tmpfiles.d/tasker.conf"
install -D -m 644 config/production.config.yaml "$stage/usr/share/doc/tasker/examples/production.config.yaml"
install -D -m 644 -t "$stage/usr/share/doc/tasker" README.md CHANGELOG.md docs/*.md
install -D -m 644 LICENSE "$stage/usr/share/doc/tasker/copyright"
for page in packaging/man/*.1; do
	install -D -m 644 -t "$stage/usr/share/man/man1" "$page"
done
gzip -9n "$stage"/usr/share/man/man1/*.1

# Nothing in the package depends on when it was made.
find "$stage" -exec touch --no-dereference --date="@$(release_time)" {} +
mkdir -p dist
file=dist/tasker_$(debian_version "$version")_$arch.deb
ARCH=$arch VERSION=$(debian_version "$version") STAGE=$stage SOURCE_DATE_EPOCH=$(release_time) \
	go tool -modfile=tools/nfpm/go.mod nfpm package --config packaging/nfpm.yaml --packager deb --target "$file" >&2
echo "$file"
