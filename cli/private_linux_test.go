package cli_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestDaemonsAreNotDumpable: programs of handlers, which have the manager's
// user, cannot read its memory and environment, where the passwords are.
func TestDaemonsAreNotDumpable(t *testing.T) { // not parallel: it is about the whole process
	dumpable := func() int {
		t.Helper()
		is, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	before := dumpable()
	set := func(to int) {
		t.Helper()
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(to), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	defer set(before)
	for _, args := range [][]string{{"api"}, {"manager", "--endpoint", "a"}, {"dev", "--ephemeral"}} {
		set(1)
		if o := tasker(t, nil, nil, args...); o.action != args[0] || dumpable() != 0 {
			t.Errorf("%v: action %q, dumpable %d", args, o.action, dumpable())
		}
	}
	set(1)
	if tasker(t, nil, nil, "config", "show"); dumpable() != 1 {
		t.Error("a command that reads no secrets is not dumpable")
	}
}
