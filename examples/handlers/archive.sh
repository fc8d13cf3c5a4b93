#!/bin/sh
# Packs a directory into $ARCHIVES and answers with the archive's checksum.
set -eu
directory=$1

tell() { # DONE MESSAGE
	printf '{"progress":{"done":%s,"total":2,"message":"%s"}}\n' "$1" "$2" >&3
}

[ -d "$directory" ] || {
	echo "there is no directory $directory" >&2
	exit 2
}
file=$ARCHIVES/$TASKER_ENDPOINT-$TASKER_IDENTIFIER.tar.gz
tell 0 "packing $directory"
# Under another name first: who finds the file finds all of it.
tar -C "$directory" -czf "$file.part" .
tell 1 "computing the checksum"
sum=$(sha256sum "$file.part")
mv "$file.part" "$file"
tell 2 "done"
printf '{"file":"%s","sha256":"%s"}\n' "$file" "${sum%% *}"
