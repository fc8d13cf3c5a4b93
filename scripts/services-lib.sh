# shellcheck shell=bash
# How services.sh, which sources this file, starts, checks and stops each server.

dir=${TASKER_TEST_SERVICES_DIR:-${root:?}/.services}
rabbitmq_bin=/usr/lib/rabbitmq/bin

prepare() {
	[ "$(uname -s)" = Linux ] ||
		die "the test services need Linux: elsewhere set TASKER_TEST_MYSQL_URI and TASKER_TEST_RABBITMQ_URI to your own servers"
	mkdir -p "$dir/logs" "$dir/ports"
	dir=$(cd "$dir" && pwd)
	chmod 700 "$dir"
	PATH=$PATH:/usr/sbin:/sbin
}

# external NAME succeeds if the environment names this server: then none is
# started.
external() {
	case $1 in
	mysql) [ -n "${TASKER_TEST_MYSQL_URI-}" ] ;;
	rabbitmq)
		[ -n "${TASKER_TEST_RABBITMQ_URI-}" ] || return 1
		[ -n "${TASKER_TEST_RABBITMQ_MANAGEMENT_URI-}" ] ||
			die "TASKER_TEST_RABBITMQ_MANAGEMENT_URI is not set: it is needed with TASKER_TEST_RABBITMQ_URI"
		;;
	esac
}

password() { cat "$dir/password"; }

make_password() {
	[ -s "$dir/password" ] && return
	(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/password")
}

# A process is identified by its pid and its start time, so that a reused pid is
# never mistaken for ours.
start_time() {
	local stat
	{ stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
	stat=${stat##*) }
	# shellcheck disable=SC2086 # split into fields: state is the third one
	set -- $stat
	[ "$1" != Z ] && echo "${20}"
}

record() { # NAME PID
	local started
	started=$(start_time "$2") || return 1
	echo "$2 $started" >"$dir/$1.pid"
}

alive() { # NAME
	local pid started
	[ -r "$dir/$1.pid" ] || return 1
	read -r pid started <"$dir/$1.pid" || return 1
	[ "$(start_time "$pid")" = "$started" ]
}

pid_of() { cut -d' ' -f1 "$dir/$1.pid"; }

# stop NAME SECONDS sends TERM, waits, and then kills.
stop() {
	local pid deadline=$((SECONDS + $2))
	if alive "$1"; then
		pid=$(pid_of "$1")
		kill -TERM "$pid" 2>/dev/null || true
		while alive "$1"; do
			if [ $SECONDS -ge $deadline ]; then
				say "$1 does not stop: killing it"
				kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
				deadline=$((SECONDS + 5))
			fi
			sleep 0.1
		done
	fi
	rm -f "$dir/$1.pid"
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

port() { cat "$dir/ports/$1"; }

# choose_port NAME OFFSET writes a free port for a server to ports/NAME. The
# first candidate depends on the directory, so that two clones do not collide.
choose_port() {
	local sum base candidate
	sum=$(printf '%s' "$dir" | cksum | cut -d' ' -f1)
	base=${TASKER_TEST_SERVICES_PORT:-$((26000 + sum % 500 * 10))}
	for candidate in $(seq $((base + $2)) 10 $((base + $2 + 1000))); do
		if ! port_taken "$candidate"; then
			echo "$candidate" >"$dir/ports/$1"
			return
		fi
	done
	die "no free port for $1 at or above $base"
}

# wait_until NAME SECONDS CHECK waits until the check succeeds; it fails at once
# if the server's process has ended.
wait_until() {
	local name=$1 deadline=$((SECONDS + $2))
	shift 2
	until "$@"; do
		if ! alive "$name" || [ $SECONDS -ge $deadline ]; then
			say "--- last lines of $dir/logs/$name.log"
			tail -n 30 "$dir/logs/$name.log" >&2 || true
			alive "$name" && die "$name is not ready in time: see its logs in $dir/logs"
			die "$name ended during startup: see its logs in $dir/logs"
		fi
		sleep 0.2
	done
}

# become_daemon LOG COMMAND... replaces the calling subshell by a server in its
# own session, with its output in a file. The server inherits no descriptor: a
# lock on one would be held for as long as the server lives.
become_daemon() {
	local log=$1
	shift
	close_inherited
	exec setsid "$@" </dev/null >>"$log" 2>&1
}

raise_file_limit() {
	ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
}

## MariaDB

mysql_ready() {
	mariadb --defaults-file="$dir/mysql/client.cnf" -e 'SELECT 1' >/dev/null 2>&1
}

mysql_settings() {
	local user=
	[ "$(id -u)" -ne 0 ] || user='user = root'
	# Relative to the data directory, since the length of a socket's path is limited.
	cat >"$dir/mysql/my.cnf" <<-CNF
		[mariadbd]
		$user
		datadir = $dir/mysql/data
		socket = mysql.sock
		pid_file = $dir/mysql/server.pid
		bind_address = 127.0.0.1
		port = $(port mysql)
		init_file = $dir/mysql/init.sql
		skip_name_resolve = ON
		max_connections = 2000
		innodb_buffer_pool_size = 256M
		innodb_flush_log_at_trx_commit = 1
	CNF
	cat >"$dir/mysql/client.cnf" <<-CNF
		[client]
		protocol = tcp
		host = 127.0.0.1
		port = $(port mysql)
		user = root
		password = $(password)
	CNF
	cat >"$dir/mysql/init.sql" <<-SQL
		CREATE OR REPLACE USER 'root'@'127.0.0.1' IDENTIFIED BY '$(password)';
		GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
		ALTER USER 'root'@'localhost' IDENTIFIED BY '$(password)';
		CREATE OR REPLACE USER 'tasker'@'127.0.0.1' IDENTIFIED BY '$(password)';
		GRANT ALL PRIVILEGES ON tasker.* TO 'tasker'@'127.0.0.1';
	SQL
}

start_mysql() {
	external mysql && return
	alive mysql && mysql_ready && return
	stop mysql 30
	command -v mariadbd mariadb-install-db mariadb | wc -l | grep -q 3 ||
		install_quietly mariadb-server-core mariadb-client-core
	make_password
	rm -rf "$dir/mysql"
	(umask 077 && mkdir -p "$dir/mysql/data")
	choose_port mysql 0
	say "starting MariaDB on 127.0.0.1:$(port mysql)"
	(umask 077 && mysql_settings)
	mariadb-install-db --no-defaults --datadir="$dir/mysql/data" --skip-test-db --skip-name-resolve \
		--auth-root-authentication-method=normal --user="$(id -un)" >"$dir/logs/mysql.log" 2>&1 ||
		{ cat "$dir/logs/mysql.log" >&2 && die "mariadb-install-db failed"; }
	raise_file_limit
	(become_daemon "$dir/logs/mysql.log" mariadbd --defaults-file="$dir/mysql/my.cnf") &
	record mysql $! || true
	wait_until mysql 120 mysql_ready
}

stop_mysql() {
	if alive mysql; then
		say "stopping MariaDB"
	fi
	stop mysql 60
	rm -rf "$dir/mysql"
}

## RabbitMQ

# In AMQP 0-9-1 the server answers the client's first bytes with a method frame,
# type 1. That the management plugin listens does not mean that RabbitMQ is ready.
rabbitmq_ready() {
	local type
	type=$( (
		exec 3<>"/dev/tcp/127.0.0.1/$(port amqp)"
		printf 'AMQP\0\0\011\001' >&3
		head -c 1 <&3 | od -An -tu1
	) 2>/dev/null) || return 1
	[ "${type//[[:space:]]/}" = 1 ] && management_ready
}

management_ready() {
	local answer
	answer=$( (
		exec 3<>"/dev/tcp/127.0.0.1/$(port management)"
		printf 'GET /api/vhosts HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n' \
			"$(printf 'admin:%s' "$(password)" | base64 -w0)" >&3
		head -n 1 <&3
	) 2>/dev/null) || return 1
	[[ $answer = HTTP/*" 200"* ]]
}

rabbitmq_settings() {
	local home=$dir/rabbitmq
	cat >"$home/rabbitmq.conf" <<-CONF
		listeners.tcp.1 = 127.0.0.1:$(port amqp)
		management.tcp.ip = 127.0.0.1
		management.tcp.port = $(port management)
		default_user = admin
		default_pass = $(password)
		default_user_tags.administrator = true
		disk_free_limit.absolute = 50MB
		log.console = true
		log.console.level = info
	CONF
	echo '[rabbitmq_management].' >"$home/enabled_plugins"
}

# rabbitmq_environment isolates the node from the system's RabbitMQ: its own epmd,
# cookie, files and ports, all on loopback.
rabbitmq_environment() {
	local home=$dir/rabbitmq
	export HOME=$home
	export ERL_EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1
	ERL_EPMD_PORT=$(port epmd)
	export RABBITMQ_NODENAME RABBITMQ_DIST_PORT
	RABBITMQ_NODENAME=tasker-test-$(printf '%s' "$dir" | cksum | cut -d' ' -f1)@localhost
	RABBITMQ_DIST_PORT=$(port distribution)
	export RABBITMQ_CONF_ENV_FILE=$home/none
	export RABBITMQ_CONFIG_FILE=$home/rabbitmq.conf
	export RABBITMQ_ADVANCED_CONFIG_FILE=$home/advanced.config
	export RABBITMQ_ENABLED_PLUGINS_FILE=$home/enabled_plugins
	export RABBITMQ_GENERATED_CONFIG_DIR=$home/generated
	export RABBITMQ_SCHEMA_DIR=$home/schema
	export RABBITMQ_PLUGINS_EXPAND_DIR=$home/plugins
	export RABBITMQ_MNESIA_BASE=$home/data
	export RABBITMQ_LOG_BASE=$dir/logs
	export RABBITMQ_LOGS=- # standard output
	export RABBITMQ_PID_FILE=$home/server.pid
	export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
	unset NOTIFY_SOCKET
}

start_rabbitmq() {
	external rabbitmq && return
	alive rabbitmq && alive epmd && rabbitmq_ready && return
	stop rabbitmq 30
	stop epmd 5
	[ -x "$rabbitmq_bin/rabbitmq-server" ] || {
		install_quietly rabbitmq-server
		# It is installed only for tests: keep the system's own broker off.
		as_root systemctl disable rabbitmq-server >/dev/null 2>&1 || true
	}
	make_password
	rm -rf "$dir/rabbitmq"
	(umask 077 && mkdir -p "$dir"/rabbitmq/{data,generated,schema,plugins})
	choose_port amqp 1
	choose_port management 2
	choose_port distribution 3
	choose_port epmd 4
	say "starting RabbitMQ on 127.0.0.1:$(port amqp), management http://127.0.0.1:$(port management)"
	(umask 077 && rabbitmq_settings)
	: >"$dir/logs/epmd.log"
	(
		export ERL_EPMD_ADDRESS=127.0.0.1
		become_daemon "$dir/logs/epmd.log" epmd -port "$(port epmd)"
	) &
	record epmd $! || true
	wait_until epmd 10 port_taken "$(port epmd)"
	launch_rabbitmq
}

# launch_rabbitmq starts the server with the files that are there.
launch_rabbitmq() {
	raise_file_limit
	(
		rabbitmq_environment
		: >"$dir/logs/rabbitmq.log"
		become_daemon "$dir/logs/rabbitmq.log" "$rabbitmq_bin/rabbitmq-server"
	) &
	record rabbitmq $! || true
	wait_until rabbitmq 120 rabbitmq_ready
}

stop_rabbitmq() {
	if alive rabbitmq; then
		say "stopping RabbitMQ"
	fi
	stop rabbitmq 60
	stop epmd 5
	rm -rf "$dir/rabbitmq"
}
