# shellcheck shell=bash
# Functions of package.sh and release.sh, which source this file.

# check_arch ends the script unless there are releases for an architecture.
check_arch() {
	case $1 in
	amd64 | arm64) ;;
	*) die "invalid architecture $1: must be amd64 or arm64" ;;
	esac
}

# release_version prints the version: VERSION, or the last tag in git and what came
# after it.
release_version() {
	echo "${VERSION:-$(git -C "${root:?}" describe --tags --always --dirty)}"
}

# debian_version prints a version in the form that dpkg compares: it begins with a
# digit, a candidate (v1.2.0-rc.1) is older than the release, and what came after a tag
# (v1.2.0-4-g1a2b3c4) is newer.
debian_version() {
	local version=${1#v} later=''
	if [[ $version = *-dirty ]]; then
		version=${version%-dirty} later=+dirty
	fi
	if [[ $version =~ ^(.*)-([0-9]+)-(g[0-9a-f]+)$ ]]; then
		version=${BASH_REMATCH[1]} later=+${BASH_REMATCH[2]}+${BASH_REMATCH[3]}$later
	fi
	[[ $version = [0-9]*.* ]] || version=0-$version
	echo "${version//-/\~}$later"
}

# release_time prints the time of the last commit, in seconds since 1970.
release_time() { git -C "${root:?}" log -1 --format=%ct; }

# build_release builds tasker for an architecture of Linux. It has no paths, times or
# ids of the machine that built it.
build_release() { # ARCH OUTPUT
	say "building tasker $(release_version) for linux/$1"
	GOFLAGS='' CGO_ENABLED=0 GOOS=linux GOARCH=$1 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X main.version=$(release_version)" -o "$2" ./cmd/tasker
}
