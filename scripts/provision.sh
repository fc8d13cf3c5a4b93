#!/usr/bin/env bash
# Installs tasker on this machine, a plain Debian 12 or 13: RabbitMQ with its
# management plugin, MariaDB, tasker, and under supervisord the API and the
# managers console1 and console2, each for worker and backup.
#
#   MYSQL_PASSWD=... scripts/provision.sh
#
# It is safe to run again at any time: it changes only what differs, and
# restarts only what changed. A new MYSQL_PASSWD changes the password. Other
# variables:
#
#   MYSQL_PASSWD_BASE64  the password in base64, instead of MYSQL_PASSWD, if it
#                        passes through a shell that would expand a $ in it
#   TASKER_BINARY        install this tasker instead of building one
#   TASKER_API_LISTEN    the address that the API listens on (default: that of
#                        the configuration, 127.0.0.1)
#   GO_TARBALL           a Go distribution (path or URL) to use instead of the
#                        one from go.dev, if no recent enough Go is installed
#   GO_SHA256            its checksum
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/provision-lib.sh
. "$root/scripts/provision-lib.sh"

umask 022
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin

check_input
step "packages"
install_packages
step "MariaDB"
start_service mariadb mysql_answers
create_database
step "RabbitMQ"
start_rabbitmq
step "tasker"
install_tasker
install_configuration
initialize
step "supervisord"
start_service supervisor supervisor_answers
run_under_supervisord
report
