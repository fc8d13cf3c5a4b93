//go:build unix && !linux

package proc

import "syscall"

// closeInheritedOnExec marks descriptors above 2 close-on-exec, as many as a shell or a
// supervisor might have open.
func closeInheritedOnExec() {
	const most = 256
	for fd := 3; fd < most; fd++ {
		syscall.CloseOnExec(fd)
	}
}
