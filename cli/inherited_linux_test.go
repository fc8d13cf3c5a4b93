package cli

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKeepToOurselves(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	inherited, err := unix.Dup(int(file.Fd())) // as a shell leaves it: open over an exec
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(inherited) }()
	flags := func() int {
		t.Helper()
		flags, err := unix.FcntlInt(uintptr(inherited), unix.F_GETFD, 0)
		if err != nil {
			t.Fatal(err)
		}
		return flags & unix.FD_CLOEXEC
	}
	if flags() != 0 {
		t.Fatal("there is nothing to test")
	}
	err = unix.CloseRange(1<<20, 1<<20, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return // an old kernel
	}
	keepToOurselves()
	if flags() == 0 {
		t.Error("programs would get the descriptor")
	}
}
