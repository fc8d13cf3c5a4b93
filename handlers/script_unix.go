//go:build unix

package handlers

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// anyProgram stands for a program that is not known yet.
const anyProgram = "/bin/sh"

// changeable tells who, other than root and this process, could change a file,
// or is empty. What is in a sticky directory only its owner, and the directory's,
// can rename.
func changeable(info fs.FileInfo, sticky bool) string {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Sprintf("belongs to the user %d, neither to root nor to the manager's user", stat.Uid)
	}
	if !sticky && info.Mode()&fs.ModeSymlink == 0 && info.Mode()&0o022 != 0 {
		return fmt.Sprintf("is writable by its group or by all (its mode is %v)", info.Mode())
	}
	return ""
}
