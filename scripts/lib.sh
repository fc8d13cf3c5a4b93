# shellcheck shell=bash
# Functions that several scripts use; sourced, never run.

say() { printf '%s\n' "$*" >&2; }

die() {
	printf '%s: error: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# close_inherited closes every descriptor above standard error. Use it only in a
# subshell that execs a daemon: the shell reads its own script through one.
close_inherited() {
	local fd
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || exec {fd}>&-
	done
}

# as_root runs a command as root: directly, or through sudo.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo -- "$@"
	else
		die "this needs root: $*: become root, or install sudo"
	fi
}

# install_quietly installs packages without starting their services: while apt
# runs, a policy-rc.d forbids it; the previous one is restored afterwards. It
# never removes a package to resolve a conflict.
install_quietly() (
	command -v apt-get >/dev/null 2>&1 ||
		die "missing packages, and no apt-get to install them: $*"
	policy=/usr/sbin/policy-rc.d
	saved=$policy.tasker-saved
	# shellcheck disable=SC2317 # called by the trap
	restore() {
		if [ -e "$saved" ]; then
			as_root mv -f "$saved" "$policy"
		else
			as_root rm -f "$policy"
		fi
	}
	say "installing $*"
	if [ -e "$policy" ] && [ ! -e "$saved" ]; then
		as_root mv "$policy" "$saved"
	fi
	trap restore EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
	apt_install "$@"
)

# apt_install installs packages, updating the package lists if needed. It prints
# apt's output only on failure, and waits if another apt is running.
apt_install() (
	command -v apt-get >/dev/null 2>&1 || die "missing packages, and no apt-get to install them: $*"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	get() {
		as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
	}
	install() { get install --no-install-recommends --no-remove "$@"; }
	install "$@" || { get update && install "$@"; } || {
		cat "$log" >&2
		die "apt-get cannot install $*"
	}
)
