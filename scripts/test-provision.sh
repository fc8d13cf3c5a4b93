#!/usr/bin/env bash
# Tests provision.sh and the Debian package in a plain Debian made with debootstrap,
# with its own processes, mounts and network: installs the system there and uses it.
# Needs root, debootstrap, Go, and some minutes; not part of CI.
#
#   scripts/test-provision.sh [bookworm|trixie] [DIRECTORY]
#
# DIRECTORY is created, and removed at the end unless KEEP=1. TASKER_BINARY is
# installed instead of building tasker. MIRROR is the Debian mirror.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

suite=${1:-bookworm}
target=${2:-$(mktemp -d /tmp/tasker-provision.XXXXXX)}
install -d -m 755 "$target" # it becomes /, so every user of the new system must be able to enter it
mirror=${MIRROR:-http://deb.debian.org/debian}

[ "$(id -u)" -eq 0 ] || die "this needs root"
command -v debootstrap >/dev/null || die "this needs debootstrap: apt-get install debootstrap"

[ -n "${TASKER_BINARY-}" ] || (cd "$root" && go mod download) || die "this needs Go, or TASKER_BINARY"

# The second call of this script, inside the namespaces: mounts and network end
# with it.
if [ "${TASKER_TEST_PROVISION_STAGE-}" = inside ]; then
	ip link set lo up
	hostname tasker-test
	mount -t proc proc "$target/proc"
	mount --rbind /dev "$target/dev"
	mount -t tmpfs tmpfs "$target/run"
	mount -t tmpfs tmpfs "$target/tmp"
	go=()
	if [ -z "${TASKER_BINARY-}" ]; then
		mkdir -p "$target/usr/local/go" "$target/go/mod" "$target/go/cache"
		mount --bind -o ro "$(go env GOROOT)" "$target/usr/local/go"
		mount --bind "$(go env GOMODCACHE)" "$target/go/mod"
		mount --bind "$(go env GOCACHE)" "$target/go/cache"
		go=(GOMODCACHE=/go/mod GOCACHE=/go/cache GOPROXY=off GOTOOLCHAIN=local)
	else
		install -m 755 "$TASKER_BINARY" "$target/root/tasker"
		go=(TASKER_BINARY=/root/tasker)
	fi
	# Not exec: when this shell ends, all processes in there are killed.
	chroot "$target" env -i HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin "${go[@]}" \
		/root/tasker-source/scripts/test-provision-inside.sh
	exit
fi

cleanup() {
	if [ "${KEEP-}" = 1 ]; then
		say "kept: $target"
	else
		rm -rf --one-file-system "$target"
	fi
}
trap cleanup EXIT

say "==> a plain Debian $suite in $target"
mkdir -p "$target"
debootstrap "$suite" "$target" "$mirror" >"$target.log" 2>&1 || { tail -n 20 "$target.log" >&2 && die "debootstrap failed"; }
rm -f "$target.log"
printf '127.0.0.1 localhost tasker-test\n' >"$target/etc/hosts"
echo tasker-test >"$target/etc/hostname"
# Inside, there is no network: download the packages for apt now.
cp /etc/resolv.conf "$target/etc/resolv.conf"
[ ! -e /etc/apt/apt.conf.d ] || grep -hs '^Acquire::http::Proxy' /etc/apt/apt.conf.d/* >"$target/etc/apt/apt.conf.d/90proxy" || true
chroot "$target" apt-get -qq update
chroot "$target" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --download-only --no-install-recommends \
	mariadb-server rabbitmq-server supervisor ca-certificates curl >/dev/null

mkdir -p "$target/root/tasker-source"
(cd "$root" && git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
	tar --null -T - -c) | tar -C "$target/root/tasker-source" -x

if command -v go >/dev/null; then
	say "==> two versions of the Debian package"
	for version in 1.0.0 1.0.1; do
		cp "$root/$(VERSION=$version "$root/scripts/package.sh")" "$target/root/tasker-$version.deb"
	done
fi

say "==> provision.sh, in its own namespaces"
TASKER_TEST_PROVISION_STAGE=inside unshare --mount --uts --ipc --net --pid --fork --kill-child \
	"$0" "$suite" "$target"
say "==> provision.sh and the package work on $suite"
