# shellcheck shell=bash
# The steps of provision.sh; sourced by it.

etc=/etc/tasker
rabbitmq_note="Written by tasker's provision.sh"
programs=(api manager_console1 manager_console2)

step() { say "==> $*"; }

# take_password decodes a password that came as MYSQL_PASSWD_BASE64: a way for
# it through shells that would expand some of its characters. The x keeps the
# line end that $() would cut off, and check_input refuses. Either way no program
# that runs from here on finds it in its environment.
take_password() {
	export -n MYSQL_PASSWD
	[ -n "${MYSQL_PASSWD_BASE64-}" ] || return 0
	[ -z "${MYSQL_PASSWD-}" ] || die "MYSQL_PASSWD and MYSQL_PASSWD_BASE64 are both set: give one of them"
	MYSQL_PASSWD=$(printf '%s' "$MYSQL_PASSWD_BASE64" | base64 --decode && printf x) ||
		die "invalid MYSQL_PASSWD_BASE64: must be the password in base64"
	MYSQL_PASSWD=${MYSQL_PASSWD%x}
	unset MYSQL_PASSWD_BASE64
}

check_input() {
	take_password
	[ -n "${MYSQL_PASSWD-}" ] ||
		die "MYSQL_PASSWD is not set: give the password that the database user tasker shall have, as in MYSQL_PASSWD=... $0"
	case $MYSQL_PASSWD in
	*[[:cntrl:]]*) die "MYSQL_PASSWD must be one line without control characters" ;;
	esac
	[ "$(id -u)" -eq 0 ] || die "this changes the system: run it as root"
	command -v apt-get >/dev/null || die "this needs Debian (12 or 13) or a relative with apt-get"
	[ -z "${TASKER_BINARY-}" ] || [ -x "$TASKER_BINARY" ] || die "TASKER_BINARY=$TASKER_BINARY is no program"
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

# start_service NAME CHECK starts a service and enables it, through systemd
# where that runs, else through its init script (containers, chroots).
start_service() {
	if [ -d /run/systemd/system ]; then
		systemctl enable --quiet "$1"
		systemctl start "$1"
	elif ! "$2" >/dev/null 2>&1; then
		(close_inherited && exec service "$1" start >&2) || say "the init script of $1 is not content; waiting for the service all the same"
	fi
	wait_for 90 "$2" || die "$1 does not answer; look into its logs"
}

install_packages() {
	local missing=() package
	for package in mariadb-server rabbitmq-server supervisor ca-certificates curl; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
	done
	# Where systemd is not installed, in containers.
	for package in sysusers tmpfiles; do
		command -v "systemd-$package" >/dev/null || missing+=("systemd-standalone-$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	# A broker that only this machine's own programs need is not shown to
	# others. Where RabbitMQ was before, its configuration is not ours.
	if [[ " ${missing[*]} " = *" rabbitmq-server "* ]] && [ ! -e /etc/rabbitmq/rabbitmq.conf ]; then
		mkdir -p /etc/rabbitmq
		cat >/etc/rabbitmq/rabbitmq.conf <<-CONF
			# $rabbitmq_note. For managers on other machines let it
			# listen for them (and use TLS): listeners.tcp.default = 5672
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

# sql_text quotes a string for SQL. It counts on sql_mode being empty.
sql_text() {
	local s=$1
	s=${s//\\/\\\\}
	s=${s//\'/\\\'}
	printf "'%s'" "$s"
}

# create_database makes the database, and the user with the given password. It
# speaks as root through the socket, and the password stays out of the process
# list.
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
	# The administrator guest with the password guest, whom every local user
	# could be, goes where RabbitMQ was installed by this script.
	if grep -qs "$rabbitmq_note" /etc/rabbitmq/rabbitmq.conf &&
		rabbitmqctl --quiet list_users | grep -q '^guest[[:space:]]'; then
		rabbitmqctl --quiet delete_user guest >&2
	fi
}

## tasker

# usable_go prints a go that is new enough to build tasker.
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
		echo "$sum  $tarball" | sha256sum --check --status || die "the checksum of Go's distribution is wrong"
	elif [[ ${GO_TARBALL-} = *://* ]]; then
		die "GO_TARBALL is an URL, so GO_SHA256 must say its checksum"
	fi
	tar -C "$work" -xzf "$tarball"
	rm -rf /usr/local/go
	mv "$work/go" /usr/local/go
)

build_tasker() { # OUTPUT
	local go version
	if ! go=$(usable_go); then
		install_go
		go=$(usable_go) || die "there is no Go $(go_version) or newer, also after installing it"
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
	# A running program is replaced, never written to.
	if ! cmp -s "$work/tasker" /usr/local/bin/tasker; then
		install -m 755 "$work/tasker" /usr/local/bin/tasker.new
		mv -f /usr/local/bin/tasker.new /usr/local/bin/tasker
		say "installed /usr/local/bin/tasker"
	fi
	rm -rf "$work"
}

# leave_old_user hands over what belonged to the one user, tasker, that the API
# and the managers had before there were two.
leave_old_user() {
	[ "$(stat -c %U /var/lib/tasker 2>/dev/null)" = tasker ] || return 0
	say "the user tasker becomes tasker-api and tasker-manager"
	supervisorctl stop "${programs[@]}" >&2 || true
	rm -f /var/lib/tasker/.provisioned
	chown -R --no-dereference tasker-manager:tasker-manager /var/lib/tasker
}

# set_permissions makes the directories, and lets each user read what is for it.
set_permissions() { systemd-tmpfiles --create tasker.conf >&2; }

random_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# write_secret NAME VALUE puts a secret where only root reads it, until
# set_permissions says who else.
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
		[[ $TASKER_API_LISTEN =~ ^[0-9A-Za-z.:-]+$ ]] || die "TASKER_API_LISTEN is no address: $TASKER_API_LISTEN"
		grep -q '^  listen: ' "$etc/production.config.yaml" || die "$etc/production.config.yaml has no api.listen to set"
		sed -i "s/^  listen: .*/  listen: \"$TASKER_API_LISTEN\"/" "$etc/production.config.yaml"
	fi
	write_secret db_password "$MYSQL_PASSWD"
	for name in rabbitmq_password api_token; do
		[ -s "$etc/secrets/$name" ] || write_secret "$name" "$(random_secret)"
	done
	set_permissions
}

# run_tasker USER [VARIABLE=VALUE...] ARGUMENTS... runs tasker as one of its
# users, with no TASKER_ variables but those given.
run_tasker() {
	local variables=() user=$1
	shift
	while [[ $1 = *=* ]]; do
		variables+=("$1")
		shift
	done
	(
		cd / || exit
		# The variables go through the environment, not through the arguments
		# that everybody can read.
		local name
		for name in $(compgen -e | grep '^TASKER_'); do unset "$name"; done
		[ ${#variables[@]} -eq 0 ] || export "${variables[@]}"
		exec setpriv --reuid="$user" --regid="$user" --init-groups -- \
			/usr/local/bin/tasker "$@" --mode production --config "$etc"
	)
}

# initialize lets tasker make its tables, its virtual host and its user. For
# RabbitMQ it needs an administrator, which exists only meanwhile.
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
	# A file, because everybody can read a command's arguments, and because
	# rabbitmqctl of RabbitMQ 4.0 waits for ever for a password from a pipe.
	chown rabbitmq "$definitions"
	printf '{"users":[{"name":"%s","password":"%s","tags":"administrator"}]}\n' "$admin" "$passwd" >"$definitions"
	rabbitmqctl --quiet import_definitions "$definitions" >&2
	run_tasker tasker-api config check --programs=false >&2
	run_tasker tasker-manager config check --api=false >&2
	# A broker that has just started on a busy machine may take longer to make a
	# virtual host than tasker waits for an answer; it may be asked again.
	for attempt in 1 2 3 4 5; do
		run_tasker tasker-api TASKER_RABBITMQ_USER="$admin" TASKER_RABBITMQ_PASSWORD="$passwd" \
			initialize --database --rabbitmq >&2 && return
		say "tasker initialize failed, attempt $attempt of 5"
		sleep 2
	done
	die "tasker could not be initialized"
)

## supervisord

supervisor_answers() { supervisorctl pid; }

running() { supervisorctl status "${programs[@]}" | grep -c RUNNING; }

# run_under_supervisord starts the programs. Those that run already are
# restarted only if the program, the configuration or a secret is another one
# than when they were started. A restart loses no task: the managers adopt what
# they left.
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
			supervisorctl start "$program" >&2 || true # judged below
		fi
	done
	wait_for 60 all_running || {
		supervisorctl status >&2 || true
		die "not every program runs; see /var/log/tasker"
	}
}

# all_running holds when the programs run and the API is ready: it reaches the
# database and the broker.
all_running() {
	[ "$(running)" -eq ${#programs[@]} ] && api_ready
}

# api_url is the API's address as the configuration says, seen from here.
api_url() {
	local listen port
	listen=$(api_setting listen)
	port=$(api_setting port)
	case $listen in
	'' | 0.0.0.0 | ::) listen=127.0.0.1 ;;
	*:*) listen="[$listen]" ;;
	esac
	echo "http://$listen:${port:-8888}"
}

api_setting() {
	awk -v key="$1:" '/^[^ #]/ { api = $1 == "api:" } api && $1 == key { gsub(/"/, "", $2); print $2; exit }' \
		"$etc/production.config.yaml"
}

# curl_text quotes a string for a configuration file of curl's.
curl_text() {
	local s=$1
	s=${s//\\/\\\\}
	s=${s//\"/\\\"}
	printf '"%s"' "$s"
}

api_ready() {
	printf 'header = %s\n' "$(curl_text "Authorization: Bearer $(cat "$etc/secrets/api_token")")" |
		curl -sf --config - -o /dev/null "$(api_url)/readyz"
}

report() {
	supervisorctl status "${programs[@]}" >&2
	cat >&2 <<-TEXT

		tasker runs. Try it, on this machine:

		  token=\$(sudo cat $etc/secrets/api_token)
		  curl -H "Authorization: Bearer \$token" -H 'Content-Type: application/json' \\
		    -d '{"identifier":"first","payload":{"foo":"bar"},"endpoints":["console1","console2"]}' \\
		    $(api_url)/worker
		  curl -H "Authorization: Bearer \$token" $(api_url)/worker/first

		Configuration: $etc. Logs: /var/log/tasker. Control: supervisorctl.
	TEXT
}
