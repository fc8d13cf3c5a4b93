#!/bin/sh
# Updates the packages, and asks for a reboot (exit code 77) if the system needs
# one. After the reboot it runs again, with TASKER_STEP 2.
set -eu
: "${REBOOT_REQUIRED:=/run/reboot-required}" "${UPDATE:=sudo -n /usr/local/sbin/update-packages}"

if [ "${TASKER_STEP:-1}" -gt 1 ]; then
	echo '{"updated":true,"rebooted":true}'
	exit
fi
$UPDATE >&2
if [ -e "$REBOOT_REQUIRED" ]; then
	exit 77
fi
echo '{"updated":true,"rebooted":false}'
