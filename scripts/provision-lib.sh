# shellcheck shell=bash
# The steps of provision.sh, which sources this file.

etc=/etc/tasker
rabbitmq_note="Written by tasker's provision.sh"
programs=(api manager_console1 manager_console2)

step() { say "==> $*"; }

# take_password sets MYSQL_PASSWD from MYSQL_PASSWD_BASE64, if given, and removes
# the password from the environment of all further programs. The x preserves a
# trailing newline, which $() would drop and check_input must refuse.
take_password() {
	export -n MYSQL_PASSWD
	[ -n "${MYSQL_PASSWD_BASE64-}" ] || return 0
	[ -z "${MYSQL_PASSWD-}" ] || die "MYSQL_PASSWD and MYSQL_PASSWD_BASE64 are both set: set only one"
	MYSQL_PASSWD=$(printf '%s' "$MYSQL_PASSWD_BASE64" | base64 --decode && printf x) ||
		die "invalid MYSQL_PASSWD_BASE64: must be the password in base64"
	MYSQL_PASSWD=${MYSQL_PASSWD%x}
	unset MYSQL_PASSWD_BASE64
}

check_input() {
	take_password
	[ -n "${MYSQL_PASSWD-}" ] ||
		die "MYSQL_PASSWD is not set: choose a password for the database user tasker, as in MYSQL_PASSWD=... $0"
	case $MYSQL_PASSWD in
	*[[:cntrl:]]*) die "invalid MYSQL_PASSWD: must be one line without control characters" ;;
	esac
	[ "$(id -u)" -eq 0 ] || die "this changes the system: run it as root"
	command -v apt-get >/dev/null || die "apt-get not found: this needs Debian 12 or 13, or a relative"
	[ -z "${TASKER_BINARY-}" ] || [ -x "$TASKER_BINARY" ] || die "invalid TASKER_BINARY: $TASKER_BINARY is not an executable file"
}

# wait_for SECONDS COMMAND... waits until the command succeeds.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.5
	done
}

# start_service NAME CHECK starts and enables a service, through systemd if that
# runs, otherwise through its init script (containers, chroots).
start_service() {
	if [ -d /run/systemd/system ]; then
		systemctl enable --quiet "$1"
		systemctl start "$1"
	elif ! "$2" >/dev/null 2>&1; then
		(close_inherited && exec service "$1" start >&2) || say "the init script of $1 failed: waiting for the service anyway"
	fi
	wait_for 90 "$2" || die "$1 does not answer: see its logs"
}

install_packages() {
	local missing=() package
	for package in mariadb-server rabbitmq-server supervisor ca-certificates curl; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
	done
	# Containers have no systemd.
	for package in sysusers tmpfiles; do
		command -v "systemd-$package" >/dev/null || missing+=("systemd-standalone-$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	# Listen on loopback only, unless RabbitMQ was installed before: then its
	# configuration is not ours.
	if [[ " ${missing[*]} " = *" rabbitmq-server "* ]] && [ ! -e /etc/rabbitmq/rabbitmq.conf ]; then
		mkdir -p /etc/rabbitmq
		cat >/etc/rabbitmq/rabbitmq.conf <<-CONF
			# $rabbitmq_note. To serve managers on other
			# machines (use TLS): listeners.tcp.default = 5672
			listeners.tcp.default = 127.0.0.1:5672
			management.tcp.ip = 127.0.0.1
			management.tcp.port = 15672
		CONF
	fi
	say "installing ${missing[*]}"
	apt_install "${missing[@]}"
}

## MariaDB

mysql_answers() { mariadb-admin --protocol=socket ping; }

# sql_text quotes a string for SQL. It requires an empty sql_mode.
sql_text() {
	local s=$1
	s=${s//\\/\\\\}
	s=${s//\'/\\\'}
	printf "'%s'" "$s"
}

# create_database creates the database and its user, as root through the socket.
# The password does not appear in the process list.
create_database() {
	local host passwd
	passwd=$(sql_text "$MYSQL_PASSWD")
	{
		echo "SET SESSION sql_mode = '';"
		echo "CREATE DATABASE IF NOT EXISTS tasker CHARACTER SET utf8mb4;"
		for host in localhost 127.0.0.1; do
			echo "CREATE USER IF NOT EXISTS 'tasker'@'$host' IDENTIFIED BY $passwd;"
			echo "ALTER USER 'tasker'@'$host' IDENTIFIED BY $passwd;"
			echo "GRANT ALL PRIVILEGES ON tasker.* TO 'tasker'@'$host';"
		done
	} | mariadb --protocol=socket --default-character-set=utf8mb4 --batch
}

## RabbitMQ

rabbitmq_answers() { rabbitmqctl --quiet await_startup --timeout 5; }

start_rabbitmq() {
	start_service rabbitmq-server rabbitmq_answers
	if ! rabbitmq-plugins --quiet is_enabled rabbitmq_management >/dev/null 2>&1; then
		rabbitmq-plugins --quiet enable rabbitmq_management >&2
	fi
	wait_for 60 curl -s -o /dev/null http://127.0.0.1:15672/ ||
		die "RabbitMQ's management API does not answer on 127.0.0.1:15672"
	# Any local user could log in as the administrator guest (password guest):
	# delete it if this script installed RabbitMQ.
	if grep -qs "$rabbitmq_note" /etc/rabbitmq/rabbitmq.conf &&
		rabbitmqctl --quiet list_users | grep -q '^guest[[:space:]]'; then
		rabbitmqctl --quiet delete_user guest >&2
	fi
}

## tasker

# usable_go prints a go command that is recent enough to build tasker.
usable_go() {
	local go version wanted
	wanted=$(go_version)
	for go in go /usr/local/go/bin/go; do
		version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
		if printf '%s\n%s\n' "$wanted" "${version#go}" | sort -V -C; then
			echo "$go"
			return
		fi
	done
	return 1
}

go_version() { awk '$1 == "go" { print $2 }' "${root:?}/go.mod"; }

install_go() (
	file=go$(go_version).linux-$(dpkg --print-architecture).tar.gz
	tarball=${GO_TARBALL:-https://go.dev/dl/$file}
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	say "installing Go from $tarball into /usr/local/go"
	sum=${GO_SHA256-}
	case $tarball in
	*://*)
		curl -fsSL --retry 3 -o "$work/go.tar.gz" "$tarball" || die "cannot fetch $tarball"
		[ -n "$sum" ] || [ -n "${GO_TARBALL-}" ] ||
			sum=$(curl -fsSL --retry 3 "https://dl.google.com/go/$file.sha256") ||
			die "cannot fetch the checksum of $file"
		tarball=$work/go.tar.gz
		;;
	esac
	if [ -n "$sum" ]; then
		echo "$sum  $tarball" | sha256sum --check --status || die "wrong checksum of the Go distribution"
	elif [[ ${GO_TARBALL-} = *://* ]]; then
		die "GO_SHA256 is not set: it is needed if GO_TARBALL is a URL"
	fi
	tar -C "$work" -xzf "$tarball"
	rm -rf /usr/local/go
	mv "$work/go" /usr/local/go
)

build_tasker() { # OUTPUT
	local go version
	if ! go=$(usable_go); then
		install_go
		go=$(usable_go) || die "no Go $(go_version) or newer, even after installing it"
	fi
	version=$(git -c "safe.directory=$root" -C "$root" describe --tags --always --dirty 2>/dev/null) || version=unknown
	say "building tasker $version with $("$go" version)"
	(cd "$root" && HOME=${HOME:-/root} CGO_ENABLED=0 "$go" build -trimpath -buildvcs=false \
		-ldflags "-s -w -X main.version=$version" -o "$1" ./cmd/tasker)
}

install_tasker() {
	local work
	install -D -m 644 "$root/scripts/systemd/sysusers.conf" /usr/lib/sysusers.d/tasker.conf
	install -D -m 644 "$root/scripts/systemd/tmpfiles.conf" /usr/lib/tmpfiles.d/tasker.conf
	systemd-sysusers tasker.conf >&2
	leave_old_user
	install -d -o root -g adm -m 750 /var/log/tasker
	set_permissions
	work=$(mktemp -d)
	if [ -n "${TASKER_BINARY-}" ]; then
		cp "$TASKER_BINARY" "$work/tasker"
	else
		build_tasker "$work/tasker"
	fi
	# Replace a running program, never write to it.
	if ! cmp -s "$work/tasker" /usr/local/bin/tasker; then
		install -m 755 "$work/tasker" /usr/local/bin/tasker.new
		mv -f /usr/local/bin/tasker.new /usr/local/bin/tasker
		say "installed /usr/local/bin/tasker"
	fi
	rm -rf "$work"
}

# leave_old_user migrates an installation in which the API and the managers
# shared the user tasker.
leave_old_user() {
	[ "$(stat -c %U /var/lib/tasker 2>/dev/null)" = tasker ] || return 0
	say "replacing the user tasker by tasker-api and tasker-manager"
	supervisorctl stop "${programs[@]}" >&2 || true
	rm -f /var/lib/tasker/.provisioned
	chown -R --no-dereference tasker-manager:tasker-manager /var/lib/tasker
}

# set_permissions creates the directories and sets who may read what.
set_permissions() { systemd-tmpfiles --create tasker.conf >&2; }

random_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# write_secret NAME VALUE writes a secret that only root can read, until
# set_permissions.
write_secret() {
	local file=$etc/secrets/$1
	[ "$(cat "$file" 2>/dev/null)" != "$2" ] || return 0
	(umask 077 && printf '%s\n' "$2" >"$file.new")
	mv -f "$file.new" "$file"
}

install_configuration() {
	local name
	if [ ! -e "$etc/production.config.yaml" ]; then
		install -o root -g tasker -m 640 "$root/config/production.config.yaml" "$etc/production.config.yaml"
		say "installed $etc/production.config.yaml"
	fi
	if [ -n "${TASKER_API_LISTEN-}" ]; then
		[[ $TASKER_API_LISTEN =~ ^[0-9A-Za-z.:-]+$ ]] || die "invalid TASKER_API_LISTEN: $TASKER_API_LISTEN"
		grep -q '^  listen: ' "$etc/production.config.yaml" || die "no api.listen in $etc/production.config.yaml: add it, or unset TASKER_API_LISTEN"
		sed -i "s/^  listen: .*/  listen: \"$TASKER_API_LISTEN\"/" "$etc/production.config.yaml"
	fi
	write_secret db_password "$MYSQL_PASSWD"
	for name in rabbitmq_password api_token; do
		[ -s "$etc/secrets/$name" ] || write_secret "$name" "$(random_secret)"
	done
	set_permissions
}

# run_tasker USER [VARIABLE=VALUE...] ARGUMENTS... runs tasker as one of its
# users, with only these TASKER_ variables.
run_tasker() {
	local variables=() user=$1
	shift
	while [[ $1 = *=* ]]; do
		variables+=("$1")
		shift
	done
	(
		cd / || exit
		# In the environment, since everybody can read arguments.
		local name
		for name in $(compgen -e | grep '^TASKER_'); do unset "$name"; done
		[ ${#variables[@]} -eq 0 ] || export "${variables[@]}"
		exec setpriv --reuid="$user" --regid="$user" --init-groups -- \
			/usr/local/bin/tasker "$@" --mode production --config "$etc"
	)
}

# initialize has tasker create its tables, its virtual host and its user. For
# RabbitMQ it needs an administrator, which exists only during this function.
initialize() (
	admin=tasker-provision
	passwd=$(random_secret)
	definitions=$(mktemp)
	# shellcheck disable=SC2317 # called by the trap
	delete_admin() {
		rm -f "$definitions"
		rabbitmqctl --quiet delete_user "$admin" >/dev/null 2>&1 || true
	}
	trap delete_admin EXIT
	# A file, since everybody can read a command's arguments, and rabbitmqctl
	# of RabbitMQ 4.0 hangs when it reads a password from a pipe.
	chown rabbitmq "$definitions"
	printf '{"users":[{"name":"%s","password":"%s","tags":"administrator"}]}\n' "$admin" "$passwd" >"$definitions"
	rabbitmqctl --quiet import_definitions "$definitions" >&2
	run_tasker tasker-api config check --programs=false >&2
	run_tasker tasker-manager config check --api=false >&2
	# A broker that has just started on a busy machine may take longer to create
	# a virtual host than tasker waits. Trying again is safe.
	for attempt in 1 2 3 4 5; do
		run_tasker tasker-api TASKER_RABBITMQ_USER="$admin" TASKER_RABBITMQ_PASSWORD="$passwd" \
			initialize --database --rabbitmq >&2 && return
		say "tasker initialize failed, attempt $attempt of 5"
		sleep 2
	done
	die "tasker initialize failed"
)

## supervisord

supervisor_answers() { supervisorctl pid; }

running() { supervisorctl status "${programs[@]}" | grep -c RUNNING; }

# run_under_supervisord starts the programs. Running ones are restarted only if
# the program, the configuration or a secret has changed since they were started.
# A restart loses no task: the managers adopt their unfinished results.
run_under_supervisord() {
	local conf=/etc/supervisor/conf.d/tasker.conf stamp=$etc/.provisioned before now program
	before=$(running || true)
	install -m 644 "$root/scripts/supervisord.conf" "$conf"
	now=$(cat /usr/local/bin/tasker "$etc/production.config.yaml" "$etc"/secrets/{api_token,db_password,rabbitmq_password} | sha256sum)
	supervisorctl reread >/dev/null
	supervisorctl update >&2
	if [ "$before" -gt 0 ] && [ "$(cat "$stamp" 2>/dev/null)" != "$now" ]; then
		say "tasker or its configuration changed: restarting"
		supervisorctl restart "${programs[@]}" >&2
	fi
	(umask 077 && echo "$now" >"$stamp")
	for program in "${programs[@]}"; do
		if supervisorctl status "$program" | grep -Eq 'STOPPED|EXITED|FATAL'; then
			supervisorctl start "$program" >&2 || true # checked below
		fi
	done
	wait_for 60 all_running || {
		supervisorctl status >&2 || true
		die "not all programs are running: see /var/log/tasker"
	}
}

# all_running succeeds if the programs run and the API reaches the database and
# the broker.
all_running() {
	[ "$(running)" -eq ${#programs[@]} ] && api_ready
}

# api_url prints the API's configured address, as seen from this machine.
api_url() {
	local listen port scheme=http
	[ -z "$(api_setting cert_file)" ] || scheme=https
	listen=$(api_setting listen)
	port=$(api_setting port)
	case $listen in
	'' | 0.0.0.0 | ::) listen=127.0.0.1 ;;
	*:*) listen="[$listen]" ;;
	esac
	echo "$scheme://$listen:${port:-8888}"
}

api_setting() {
	awk -v key="$1:" '/^[^ #]/ { api = $1 == "api:" } api && $1 == key { gsub(/"/, "", $2); print $2; exit }' \
		"$etc/production.config.yaml"
}

# curl_text quotes a string for a curl configuration file.
curl_text() {
	local s=$1
	s=${s//\\/\\\\}
	s=${s//\"/\\\"}
	printf '"%s"' "$s"
}

# api_ready does not check the certificate, which need not be for this address: the
# request stays on this machine. Nothing is asked of an API that wants a certificate of
# its clients.
api_ready() {
	[ -z "$(api_setting client_ca_file)" ] || return 0
	printf 'header = %s\n' "$(curl_text "Authorization: Bearer $(cat "$etc/secrets/api_token")")" |
		curl -sfk --config - -o /dev/null "$(api_url)/readyz"
}

report() {
	supervisorctl status "${programs[@]}" >&2
	cat >&2 <<-TEXT

		tasker is running. Try it on this machine:

		  token=\$(sudo cat $etc/secrets/api_token)
		  curl -H "Authorization: Bearer \$token" -H 'Content-Type: application/json' \\
		    -d '{"identifier":"first","payload":{"foo":"bar"},"endpoints":["console1","console2"]}' \\
		    $(api_url)/worker
		  curl -H "Authorization: Bearer \$token" $(api_url)/worker/first

		Configuration: $etc. Logs: /var/log/tasker. Control: supervisorctl.
	TEXT
}
