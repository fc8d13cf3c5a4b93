#!/bin/sh
# Updates an application to a version: update.sh <version>
#
# It can be killed at any time and run again: finished steps are not repeated, and
# unfinished ones start over. If a version is not healthy, it returns to the
# previous one.
#
#   $APP_ROOT/releases/<version>/   unpacked releases
#   $APP_ROOT/current               link to the running release
#   $APP_ROOT/previous              link to the release to return to
#   $APP_ROOT/.unchecked            exists until current has been found healthy
#
#   APP_ROOT      directory of the application
#   APP_SOURCE    directory or http(s) address with app-<version>.tar.gz and
#                 app-<version>.tar.gz.sha256
#   APP_RESTART   command that restarts the application, run in current/
#   APP_HEALTH    command that succeeds if the application works, run in current/
#   APP_TRIES     how often it is run, once a second (10)
#   APP_PER_ENDPOINT  if not empty, each endpoint has its own directory below
#                 APP_ROOT, to try several endpoints on one machine
#
# Exit codes: 0 success, 1 failure that may be retried, 2 invalid arguments, 3 the
# version is not healthy, 4 the archive does not match its checksum.
set -eu
umask 022

fail() {
	code=$1
	shift
	echo "$*" >&2
	exit "$code"
}

version=${1:-}
case $version in
'' | .* | *..* | *[!0-9.]*) fail 2 "invalid version \"$version\": must be like 1.2.0" ;;
esac
: "${APP_ROOT:?is not set}" "${APP_SOURCE:?is not set}"
root=$APP_ROOT${APP_PER_ENDPOINT:+/$TASKER_ENDPOINT}
archive=app-$version.tar.gz

# Without descriptor 3 it was started by hand.
{ true >&3; } 2>/dev/null || exec 3>/dev/null

progress() {
	printf '{"progress":{"done":%d,"total":4,"message":"%s"}}\n' "$1" "$2" >&3
}

release_of() { # the version that a link points to, if any
	basename "$(readlink "$root/$1" 2>/dev/null)" 2>/dev/null || true
}

point() { # link, version: atomically, so that the link is always valid
	ln -sfn "releases/$2" "$root/.$1.new"
	mv -T "$root/.$1.new" "$root/$1"
}

restart() { # without the lock, which the application would keep
	[ -z "${APP_RESTART:-}" ] || (cd "$root/current" && exec sh -c "$APP_RESTART" 9>&- >&2 3>&-)
}

healthy() {
	[ -n "${APP_HEALTH:-}" ] || return 0
	tries=${APP_TRIES:-10}
	while ! (cd "$root/current" && exec sh -c "$APP_HEALTH" 9>&- >&2 3>&-); do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 1
	done
}

work='' switched=''
finish() {
	code=$?
	trap - EXIT
	trap '' TERM INT HUP
	[ -z "$work" ] || rm -rf "$work"
	if [ -n "$switched" ]; then # but not found healthy
		before=$(release_of previous)
		if [ -n "$before" ]; then
			point current "$before"
			rm -f "$root/.unchecked"
			restart || echo "version $before did not restart" >&2
			echo "returned to version $before" >&2
		else
			echo "no version to return to" >&2
		fi
	fi
	exit "$code"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP

mkdir -p "$root/releases"
exec 9>"$root/.lock"
flock -n 9 || fail 1 "another update is running"
rm -rf "$root"/releases/.new-* # of a killed run

before=$(release_of current)
target=$root/releases/$version
progress 0 "downloading $version"
if [ ! -d "$target" ]; then
	work=$(mktemp -d "$root/releases/.new-XXXXXX")
	for file in "$archive" "$archive.sha256"; do
		case $APP_SOURCE in
		http://* | https://*) curl -fsS --retry 3 -o "$work/$file" "$APP_SOURCE/$file" ;;
		*) cp "$APP_SOURCE/$file" "$work/$file" ;;
		esac || fail 1 "cannot get $file from $APP_SOURCE"
	done
	(cd "$work" && sha256sum --check --status "$archive.sha256") || fail 4 "$archive does not match its checksum"
	progress 1 "unpacking $version"
	mkdir "$work/release"
	tar -xzf "$work/$archive" -C "$work/release" --no-same-owner || fail 4 "cannot unpack $archive"
	sync
	mv -T "$work/release" "$target"
fi

progress 2 "switching to $version"
if [ "$before" != "$version" ]; then
	# Do not return to a version that was never found healthy.
	[ -z "$before" ] || [ -e "$root/.unchecked" ] || point previous "$before"
	: >"$root/.unchecked"
	switched=1
	point current "$version"
elif [ -e "$root/.unchecked" ]; then
	switched=1 # by a killed run
fi
[ -z "$switched" ] || restart || fail 3 "version $version did not restart"

progress 3 "checking $version"
healthy || fail 3 "version $version is not healthy"
switched=
rm -f "$root/.unchecked"
progress 4 "$version runs"
printf '{"version":"%s","before":"%s","changed":%s}\n' "$version" "$before" \
	"$([ "$before" = "$version" ] && echo false || echo true)"
