#!/usr/bin/env bash
# Private RabbitMQ and MariaDB servers for tests and development, with their own
# ports on 127.0.0.1, data under .services/, and random passwords. The system's
# servers are not touched.
#
#   scripts/services.sh up       start them, and leave them running
#   scripts/services.sh env      print the variables that the tests and tasker
#                                need to use them, for eval
#   scripts/services.sh status   print which are running, and where
#   scripts/services.sh down     stop what up started; keep the logs
#   scripts/services.sh restart-rabbitmq
#                                restart RabbitMQ, with its data and its ports
#   scripts/services.sh run CMD  run a command with them, and stop them afterwards
#                                unless they were up or are in use
#
# To use your own servers, and start none, set
#   TASKER_TEST_MYSQL_URI=mysql://admin:password@host:port/
#   TASKER_TEST_RABBITMQ_URI=amqp://admin:password@host:port/
#   TASKER_TEST_RABBITMQ_MANAGEMENT_URI=http://admin:password@host:port
#
# TASKER_TEST_SERVICES_DIR replaces .services/. TASKER_TEST_SERVICES_PORT is the
# first of five ports to use; ports that are taken are skipped.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/services-lib.sh
. "$root/scripts/services-lib.sh"

usage() {
	sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"
}

# up starts the servers that are not running; a lock serializes it.
up() {
	(
		flock -w 300 9 || die "timeout: another $0 holds $dir/lock"
		start_mysql
		start_rabbitmq
	) 9>"$dir/lock"
}

down() {
	(
		flock -w 300 9 || die "timeout: another $0 holds $dir/lock"
		rm -f "$dir/keep"
		stop_rabbitmq
		stop_mysql
	) 9>"$dir/lock"
}

restart_rabbitmq() {
	alive rabbitmq || die "RabbitMQ is not running: scripts/services.sh up"
	# Within run, the variable is set to the private server.
	[[ ${TASKER_TEST_RABBITMQ_URI-:$(port amqp)/} = *:$(port amqp)/* ]] || die "TASKER_TEST_RABBITMQ_URI is another server"
	(
		flock -w 300 9 || die "timeout: another $0 holds $dir/lock"
		say "restarting RabbitMQ"
		stop rabbitmq 60
		launch_rabbitmq
	) 9>"$dir/lock"
}

print_env() {
	local mysql=${TASKER_TEST_MYSQL_URI-} rabbit=${TASKER_TEST_RABBITMQ_URI-}
	local management=${TASKER_TEST_RABBITMQ_MANAGEMENT_URI-}
	if [ -z "$mysql" ]; then
		alive mysql || die "MariaDB is not running: scripts/services.sh up"
		mysql="mysql://root:$(password)@127.0.0.1:$(port mysql)/"
	fi
	if [ -z "$rabbit" ]; then
		alive rabbitmq || die "RabbitMQ is not running: scripts/services.sh up"
		rabbit="amqp://admin:$(password)@127.0.0.1:$(port amqp)/"
		management="http://admin:$(password)@127.0.0.1:$(port management)"
	fi
	printf 'export TASKER_TEST_MYSQL_URI=%q\n' "$mysql"
	printf 'export TASKER_TEST_RABBITMQ_URI=%q\n' "$rabbit"
	printf 'export TASKER_TEST_RABBITMQ_MANAGEMENT_URI=%q\n' "$management"
}

# print_tasker_env prints tasker's own variables: the database, the virtual host
# and the users are all named tasker, and "tasker initialize" creates the missing
# ones. The users of external servers are not known.
print_tasker_env() {
	if ! external mysql; then
		printf 'export TASKER_MANAGER_DB_URI=%q\n' "mysql://tasker:$(password)@127.0.0.1:$(port mysql)/tasker"
	fi
	if ! external rabbitmq; then
		printf 'export TASKER_MANAGER_MESSAGE_QUEUE_URI=%q\n' "amqp://tasker:$(password)@127.0.0.1:$(port amqp)/tasker"
		printf 'export TASKER_RABBITMQ_MANAGEMENT_URI=%q\n' "http://127.0.0.1:$(port management)"
		printf 'export TASKER_RABBITMQ_USER=admin TASKER_RABBITMQ_PASSWORD=%q\n' "$(password)"
	fi
}

status() {
	local name
	for name in mysql rabbitmq; do
		if external "$name"; then
			echo "$name: external, set in the environment"
		elif ! alive "$name"; then
			echo "$name: stopped"
		elif [ "$name" = mysql ]; then
			echo "mysql: 127.0.0.1:$(port mysql)"
		else
			echo "rabbitmq: 127.0.0.1:$(port amqp), management http://127.0.0.1:$(port management)"
		fi
	done
	echo "logs: $dir/logs"
}

# run holds a shared lock while its command runs. The command inherits the
# caller's descriptors, as from a shell. A run that can take the lock exclusively
# afterwards is the last one, and stops the servers unless up asked to keep them.
run() {
	[ $# -gt 0 ] || die "run needs a command"
	exec {in_use}>"$dir/in-use"
	flock -s "$in_use"
	trap finish EXIT
	trap 'stop_child INT; exit 130' INT
	trap 'stop_child TERM; exit 143' TERM
	up
	eval "$(print_env)"
	# Its own process group (set -m), so that an interrupt reaches everything that
	# the command started.
	set -m
	"$@" {in_use}>&- &
	child=$!
	set +m
	local rc=0
	wait "$child" || rc=$?
	child=
	exit "$rc"
}

stop_child() {
	[ -z "${child-}" ] || {
		kill -s "$1" -- "-$child" 2>/dev/null || true
		wait "$child" || true
	}
}

finish() {
	trap '' INT TERM
	flock -u "$in_use"
	if [ ! -e "$dir/keep" ] && flock -n -x "$in_use"; then
		down
	fi
}

case ${1-} in
up)
	prepare
	touch "$dir/keep"
	up
	status >&2
	;;
down)
	prepare
	down
	;;
status)
	prepare
	status
	;;
env)
	prepare
	print_env
	print_tasker_env
	;;
restart-rabbitmq)
	prepare
	restart_rabbitmq
	;;
run)
	shift
	prepare
	run "$@"
	;;
help | -h | --help) usage ;;
*)
	usage >&2
	exit 2
	;;
esac
