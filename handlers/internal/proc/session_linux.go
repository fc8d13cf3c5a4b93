package proc

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A program leads its own session (setsid), which contains everything that it has
// started, directly or not, except processes that created their own session:
// daemons. Job control ("set -m", timeout, an interactive shell) only creates
// process groups within the session.
//
// A session's id is not reused as long as its leader is not reaped, or a process is
// in it.

// member is a living process of a session.
type member struct{ pid, group int }

// sessionMembers returns the living processes of a session. It fails if /proc cannot be
// read.
func sessionMembers(sid int) ([]member, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var members []member
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// Much cheaper than reading a file of each process.
		if session, err := unix.Getsid(pid); err != nil || session != sid {
			continue
		}
		group, err := unix.Getpgid(pid)
		if err == nil && alive(name) {
			members = append(members, member{pid, group})
		}
	}
	return members, nil
}

// alive reports whether a process has not exited. In a container without an init process
// one that has may stay, since nobody reaps it.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 0 && fields[0][0] != 'Z' && fields[0][0] != 'X'
}

// signalSession sends a signal to all groups of a session, and reports whether a process
// lives in it. A group gets the signal as a whole, so that none of its processes
// can escape by forking; the next call finds new groups.
func signalSession(sid int, sig syscall.Signal) (living bool) {
	// The leader's group first: usually it is the only one.
	signalGroup(sid, sig)
	members, err := sessionMembers(sid)
	if err != nil { // without /proc only that group is known
		return unix.Kill(-sid, 0) == nil
	}
	signaled := map[int]bool{sid: true}
	for _, m := range members {
		if signaled[m.group] {
			continue
		}
		signaled[m.group] = true
		// The id is not reused as long as this process is in the group.
		session, err := unix.Getsid(m.pid)
		group, lost := unix.Getpgid(m.pid)
		if err == nil && lost == nil && session == sid && group == m.group {
			signalGroup(group, sig)
		}
	}
	return len(members) > 0
}

func signalGroup(group int, sig syscall.Signal) {
	_ = unix.Kill(-group, sig)
	if sig == unix.SIGTERM {
		_ = unix.Kill(-group, unix.SIGCONT) // a stopped process could not exit
	}
}

// killSession kills all processes of a session, and reports whether it becomes empty
// within the limit. Processes that are started meanwhile are killed in the next
// round.
func killSession(sid int, limit time.Duration) bool {
	return poll(limit, func() bool { return !signalSession(sid, unix.SIGKILL) })
}

// awaitSession reports whether a session becomes empty within the limit.
func awaitSession(sid int, limit time.Duration) bool {
	return poll(limit, func() bool {
		members, err := sessionMembers(sid)
		return err != nil || len(members) == 0
	})
}

// signal sends a signal to everything that the program has started, except daemons. The
// program must not have been reaped.
func (p *Process) signal(sig syscall.Signal) { signalSession(p.process.Pid, sig) }

// sweep ends what the program left running when it exited, and only then reaps it, so
// that the id of the session is not reused.
func (p *Process) sweep() {
	sid := p.process.Pid
	if signalSession(sid, unix.SIGTERM) && !awaitSession(sid, min(leftoverGrace, p.stopGrace())) {
		killSession(sid, leftoverGrace) // do not wait for what cannot be killed, perhaps because of a dead file system
	}
	if p.exit.Stopped {
		p.cgroup.kill() // including daemons
	}
	p.reap()
	if p.exit.Stopped {
		p.cgroup.remove(leftoverGrace)
	} else {
		p.cgroup.remove(0) // unless a daemon is in it
	}
}

// start starts the program, in its own cgroup if it can have one.
func (p *Process) start(ctx context.Context, l *launch, attr *os.ProcAttr) (*os.Process, error) {
	if p.cgroup = newCgroup(&p.spec.Limits); p.cgroup != "" {
		if dir, err := os.Open(string(p.cgroup)); err == nil {
			within := *l.sys
			within.UseCgroupFD, within.CgroupFD = true, int(dir.Fd())
			there := *attr
			there.Sys = &within
			process, err := startRetrying(ctx, l, &there)
			_ = dir.Close()
			if err == nil {
				return process, nil
			}
		}
		p.cgroup.remove(0)
		p.cgroup = ""
	}
	return startRetrying(ctx, l, attr)
}
