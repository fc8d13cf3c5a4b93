//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalRows returns the height of a terminal, or 24 if it is unknown.
func terminalRows(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row == 0 {
		return 24
	}
	return int(size.Row)
}

// terminalColumns returns the width of a terminal, or 0 if it is unknown.
func terminalColumns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
