package trust

import "syscall"

// stReadOnly is ST_RDONLY of statfs(2).
const stReadOnly = 1

// readOnly reports whether a place is on a file system that is mounted without
// the right to write, so that its mode is of no account: Kubernetes mounts its
// volumes so, with directories that are writable by all.
func readOnly(place string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(place, &fs) == nil && fs.Flags&stReadOnly != 0
}
