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

// A program leads a session of its own (setsid), and its session is all that it
// has started and all that those have started, but for what made a session of
// its own: a daemon. Job control ("set -m", timeout, an interactive shell) only
// makes other process groups within the session.
//
// A session's number belongs to nobody else as long as its leader is not
// reaped, or anybody is in it.

// member is a living process of a session.
type member struct{ pid, group int }

// sessionMembers returns the living processes of a session. The error is that of
// reading /proc.
func sessionMembers(sid int) ([]member, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // it was only read
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
		// Much cheaper than to read a file of each process.
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

// alive reports whether a process has not ended. One that has may stay, in a
// container without an init process, since nobody reaps it.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 0 && fields[0][0] != 'Z' && fields[0][0] != 'X'
}

// signalSession sends a signal to all groups of a session, and reports whether
// anybody lives there. A group gets it at once, so that no process of it can
// escape by a fork; another group is looked for in the next call.
func signalSession(sid int, sig syscall.Signal) (living bool) {
	// The group of the leader first: as a rule it is all there is.
	signalGroup(sid, sig)
	members, err := sessionMembers(sid)
	if err != nil { // without /proc there is that one group
		return unix.Kill(-sid, 0) == nil
	}
	told := map[int]bool{sid: true}
	for _, m := range members {
		if told[m.group] {
			continue
		}
		told[m.group] = true
		// The number is the group's as long as this process is in it.
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
		_ = unix.Kill(-group, unix.SIGCONT) // what is stopped could not end
	}
}

// killSession kills all of a session, and reports whether it is empty within
// the limit: whatever is born while others are killed, is killed in the next
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

// signal sends a signal to all that the program has started, unless it has a
// session of its own. The program must not have been reaped.
func (p *Process) signal(sig syscall.Signal) { signalSession(p.process.Pid, sig) }

// sweep ends what is left of the program, which has ended, and reaps it only
// then: so the session keeps its number.
func (p *Process) sweep() {
	sid := p.process.Pid
	if signalSession(sid, unix.SIGTERM) && !awaitSession(sid, min(leftoverGrace, p.stopGrace())) {
		killSession(sid, leftoverGrace) // what the system does not kill, in a dead file system perhaps, is not awaited
	}
	if p.exit.Stopped {
		p.cgroup.kill() // daemons as well
	}
	p.reap()
	if p.exit.Stopped {
		p.cgroup.remove(leftoverGrace)
	} else {
		p.cgroup.remove(0) // a daemon keeps it
	}
}

// start starts the program in a cgroup of its own, where it can have one.
func (p *Process) start(ctx context.Context, l *launch, attr *os.ProcAttr) (*os.Process, error) {
	if p.cgroup = newCgroup(&p.spec.Limits); p.cgroup != "" {
		if dir, err := os.Open(string(p.cgroup)); err == nil {
			within := *l.sys
			within.UseCgroupFD, within.CgroupFD = true, int(dir.Fd())
			there := *attr
			there.Sys = &within
			process, err := startPatiently(ctx, l, &there)
			_ = dir.Close()
			if err == nil {
				return process, nil
			}
		}
		p.cgroup.remove(0)
		p.cgroup = ""
	}
	return startPatiently(ctx, l, attr)
}
