#!/usr/bin/env bash
# Makes a release in dist: the program for linux/amd64 and linux/arm64, a Debian
# package of each, and their checksums. The same source and version make the same
# bytes on any machine.
#
#   VERSION=v1.2.3 scripts/release.sh
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/release-lib.sh
. "$root/scripts/release-lib.sh"

cd "$root"
version=$(release_version)
case $version in
*-dirty) die "there are changes that are not committed: a release has the source of a commit" ;;
esac
rm -rf dist
mkdir dist
for arch in amd64 arm64; do
	build_release "$arch" "dist/tasker_${version#v}_linux_$arch"
	scripts/package.sh "$arch" >/dev/null
done
(cd dist && sha256sum -- * >SHA256SUMS)
cat dist/SHA256SUMS
