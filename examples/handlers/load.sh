#!/bin/sh
# Answers each request with the load of the machine, and keeps running.
while IFS= read -r line; do
	case $line in '{"v":1,"cancel":'*) continue ;; esac
	id=${line#'{"v":1,"id":"'}
	id=${id%%'"'*}
	read -r one five fifteen rest </proc/loadavg
	printf '{"id":"%s","result":{"load":[%s,%s,%s]}}\n' "$id" "$one" "$five" "$fifteen"
done
