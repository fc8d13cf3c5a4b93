package proc

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// signal sends a signal to the program's group. It may be called as long as the
// program is not reaped, or its group not empty: then nobody else has its number.
func (p *Process) signal(sig syscall.Signal) {
	_ = syscall.Kill(-p.process.Pid, sig)
	if sig == syscall.SIGTERM {
		_ = syscall.Kill(-p.process.Pid, syscall.SIGCONT) // what is stopped could not end
	}
}

// groupAlive tells whether a process of the group lives.
func groupAlive(pgid int) bool {
	if errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) {
		return false
	}
	// There are some, but in a container without an init process they may be
	// dead ones that nobody reaps.
	found := false
	if err := eachInGroup(pgid, func(string) (more bool) { found = true; return false }); err != nil {
		return true
	}
	return found
}

// eachInGroup gives the living processes of a group, by their numbers, as long
// as more are wanted.
func eachInGroup(pgid int, do func(pid string) (more bool)) error {
	dir, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // it was only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		if stat, err := os.ReadFile("/proc/" + name + "/stat"); err == nil && aliveIn(stat, pgid) && !do(name) {
			return nil
		}
	}
	return nil
}

// aliveIn reads /proc/PID/stat: the fields after the name, which is in
// parentheses, are the state, the parent and the group.
func aliveIn(stat []byte, pgid int) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 {
		return false
	}
	group, err := strconv.Atoi(string(fields[2]))
	return err == nil && group == pgid && fields[0][0] != 'Z' && fields[0][0] != 'X'
}
