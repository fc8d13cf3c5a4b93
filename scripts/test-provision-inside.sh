#!/usr/bin/env bash
# The part of test-provision.sh that runs inside the new Debian. Do not run it
# elsewhere.
set -euo pipefail

here=$(dirname "$0")
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
[ "$(hostname)" = tasker-test ] || die "run test-provision.sh instead"

first="it's a \"p@ss/w%rd\" \\ #1 \$HOME"
# shellcheck disable=SC2016 # expand nothing
second='another: `one`; -- %20 ä'
url=http://127.0.0.1:8888

provision() { MYSQL_PASSWD=$1 "$here/provision.sh"; }

api() { # PATH [CURL ARGUMENTS]
	local path=$1
	shift
	curl -sS -H "Authorization: Bearer $(cat /etc/tasker/secrets/api_token)" "$@" "$url$path"
}

post() { # TYPE IDENTIFIER
	api "/$1" -f -H 'Content-Type: application/json' \
		-d "{\"identifier\":\"$2\",\"payload\":{\"foo\":\"bar\"},\"endpoints\":[\"console1\",\"console2\"]}"
	echo
}

# wait_task TYPE IDENTIFIER STATUS waits for a task's end, checks its status and
# prints it.
wait_task() {
	local deadline=$((SECONDS + 90)) answer
	until answer=$(api "/$1/$2") && [[ $answer =~ \"status\":\"(DONE|FAILED|CANCELED)\" ]]; do
		[ $SECONDS -lt $deadline ] || die "task $2 has not ended: $answer"
		sleep 0.5
	done
	echo "$answer"
	[[ $answer = *"\"status\":\"$3\""* ]] || die "wrong status of task $2: want $3"
	[[ $answer = *'"endpoint":"console1"'* && $answer = *'"endpoint":"console2"'* ]] ||
		die "task $2 lacks a result"
}

pids() { supervisorctl status | awk '$2 != "RUNNING" { exit 1 } { print $1, $4 }'; }

can_log_in() {
	MYSQL_PWD=$1 mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -u tasker --default-character-set=utf8mb4 \
		-e 'SELECT COUNT(*) FROM tasks' tasker
}

say "--- no password is an error"
if env -u MYSQL_PASSWD "$here/provision.sh"; then
	die "provision.sh did not fail without MYSQL_PASSWD"
fi

say "--- first run"
provision "$first"
supervisorctl status
before=$(pids)

say "--- the API requires the token"
[ "$(curl -s -o /dev/null -w '%{http_code}' $url/worker)" = 401 ] || die "the API does not require the token"

say "--- tasks"
post worker one
post backup two
wait_task worker one DONE
wait_task backup two FAILED

say "--- second run, while a task runs"
post worker three
provision "$first"
[ "$(pids)" = "$before" ] || die "the second run restarted something: $(pids)"
wait_task worker three DONE
[ "$(api /worker/three | grep -o '"attempt":1,' | wc -l)" -eq 2 ] || die "the second run interrupted a task"

say "--- new password, while a task runs"
post worker four
provision "$second"
[ "$(pids)" != "$before" ] || die "the managers were not restarted with the new password"
can_log_in "$second" || die "the database does not accept the new password"
if can_log_in "$first" 2>/dev/null; then
	die "the database still accepts the old password"
fi
wait_task worker four DONE

say "--- users and permissions"
for program in api manager_console1; do
	stat -c "$program is %U" "/proc/$(supervisorctl pid "$program")"
done
[ "$(stat -c %U "/proc/$(supervisorctl pid api)")" = tasker-api ] || die "wrong user of the API"
[ "$(stat -c %U "/proc/$(supervisorctl pid manager_console1)")" = tasker-manager ] || die "wrong user of a manager"
may_read() { setpriv --reuid="$1" --regid="$1" --init-groups -- cat "$2" >/dev/null 2>&1; }
for user in tasker-api tasker-manager; do
	for file in production.config.yaml secrets/db_password secrets/rabbitmq_password; do
		may_read "$user" "/etc/tasker/$file" || die "$user cannot read $file"
	done
done
may_read tasker-api /etc/tasker/secrets/api_token || die "the API cannot read its token"
if may_read tasker-manager /etc/tasker/secrets/api_token; then
	die "a manager, and so every handler, can read the API's token"
fi
if setpriv --reuid=tasker-api --regid=tasker-api --init-groups -- ls /var/lib/tasker 2>/dev/null; then
	die "the API can read the managers' files"
fi

say "--- migrating an installation with one user to two"
token=$(cat /etc/tasker/secrets/api_token)
useradd --system --gid tasker --home-dir /var/lib/tasker --shell /usr/sbin/nologin tasker
sed -i 's/^user=.*/user=tasker/' /etc/supervisor/conf.d/tasker.conf
chown root:tasker /etc/tasker/secrets/api_token
supervisorctl stop all
chown -R tasker:tasker /var/lib/tasker
supervisorctl update
deadline=$((SECONDS + 90))
until api /readyz -f -o /dev/null; do
	[ $SECONDS -lt $deadline ] || die "the API does not run as the user tasker"
	sleep 0.5
done
post worker five
provision "$second"
[ "$(cat /etc/tasker/secrets/api_token)" = "$token" ] || die "the token has changed"
[ "$(stat -c %U "/proc/$(supervisorctl pid manager_console1)")" = tasker-manager ] || die "a manager runs as the old user"
[ -z "$(find /var/lib/tasker -user tasker)" ] || die "the old user still has files: $(find /var/lib/tasker -user tasker)"
wait_task worker five DONE

say "--- no secret is exposed"
[ -z "$(find /etc/tasker -perm /o+rwx)" ] || die "other users can read $(find /etc/tasker -perm /o+rwx)"
if rabbitmqctl --quiet list_users | grep -E "^(guest|tasker-provision)"; then
	die "an administrator of RabbitMQ is left"
fi
supervisorctl stop all

[ -e /root/tasker-1.0.0.deb ] || exit 0
install_package() { DEBIAN_FRONTEND=noninteractive dpkg --install "/root/tasker-$1.deb"; }

say "--- the package: installing it"
rm -rf /usr/lib/systemd/system/tasker-* /usr/lib/sysusers.d/tasker.conf /usr/lib/tmpfiles.d/tasker.conf /usr/local/bin/tasker
install_package 1.0.0
[[ $(tasker version) = "tasker 1.0.0 "* ]] || die "wrong version: $(tasker version)"
id tasker-api && id tasker-manager
[ "$(stat -c '%U:%G %a' /var/lib/tasker)" = "tasker-manager:tasker-manager 750" ] || die "wrong permissions of /var/lib/tasker"
bash -n /usr/share/bash-completion/completions/tasker
gzip --test /usr/share/man/man1/tasker*.1.gz
[ -e /usr/lib/systemd/system/tasker-manager@.service ] || die "no unit of the manager"
if grep -r /usr/local /usr/lib/systemd/system/tasker-*; then
	die "a unit starts another program"
fi
setpriv --reuid=tasker-api --regid=tasker-api --init-groups -- \
	/usr/bin/tasker config check --programs=false --mode production --config /etc/tasker

say "--- the package: upgrading it"
token=$(cat /etc/tasker/secrets/api_token)
install_package 1.0.1
[[ $(tasker version) = "tasker 1.0.1 "* ]] || die "wrong version: $(tasker version)"
[ "$(cat /etc/tasker/secrets/api_token)" = "$token" ] || die "the upgrade changed a secret"

say "--- the package: removing it"
dpkg --remove tasker
hash -r
if command -v tasker; then
	die "the program is left"
fi
[ -e /etc/tasker/production.config.yaml ] || die "removing took the configuration away"
dpkg --purge tasker
left=$(find / -xdev -path '*tasker*' -not -path '/root/*' -not -path '/tmp/*' -not -path '/var/log/*' \
	-not -path '/var/lib/mysql/*' -not -path '/var/lib/rabbitmq/*' -not -path '/etc/supervisor/*' -not -path '/go/*')
[ -z "$left" ] || die "purging left $left"
