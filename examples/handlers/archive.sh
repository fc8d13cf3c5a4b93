#!/bin/sh
# Packs a directory into $ARCHIVES and returns the archive's checksum.
set -eu
directory=$1

progress() { # DONE MESSAGE
	printf '{"progress":{"done":%s,"total":2,"message":"%s"}}\n' "$1" "$2" >&3
}

[ -d "$directory" ] || {
	echo "no such directory: $directory" >&2
	exit 2
}
file=$ARCHIVES/$TASKER_ENDPOINT-$TASKER_IDENTIFIER.tar.gz
progress 0 "packing $directory"
# First under another name, so that the file is never incomplete.
tar -C "$directory" -czf "$file.part" .
progress 1 "computing the checksum"
sum=$(sha256sum "$file.part")
mv "$file.part" "$file"
progress 2 "done"
printf '{"file":"%s","sha256":"%s"}\n' "$file" "${sum%% *}"
