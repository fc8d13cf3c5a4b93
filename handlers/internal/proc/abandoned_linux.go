package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// record leaves a note of the running program at Spec.Record: a symbolic link,
// since that is the cheapest thing that is there at once and as a whole.
func (p *Process) record() error {
	if p.spec.Record == "" {
		return nil
	}
	start, ok := startTime(os.Getpid())
	if !ok {
		return nil // without /proc there is nobody who could use it
	}
	note := fmt.Sprintf("%d %d %s %s", p.process.Pid, os.Getpid(), start, namespace())
	if p.cgroup != "" {
		note += " " + string(p.cgroup)
	}
	return os.Symlink(note, p.spec.Record)
}

// forget removes the note, when nothing of the program is left.
func (p *Process) forget() {
	if p.spec.Record != "" {
		_ = os.Remove(p.spec.Record)
	}
}

// KillAbandoned kills what is left of programs whose caller died: the programs
// themselves died with it, but what they had started did not. pattern names
// the records (see Spec.Record) as for [filepath.Glob]. A process is known by
// having the variable in its environment, with the path of its record less its
// extension; so a number that somebody else has got meanwhile harms nobody.
// Records of others than the present user are not believed. What was in the
// program's cgroup is killed as well. It gives those that are done with, and
// removes them.
func KillAbandoned(pattern, variable string) (ended []Abandoned, err error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var errs []error
	removeEmptyCgroups()
	for _, name := range names {
		target, ok := readRecord(name)
		if !ok {
			continue
		}
		var pid, owner int
		var start, space string
		if _, err := fmt.Sscan(target, &pid, &owner, &start, &space); err != nil || pid < 2 || space != namespace() {
			continue // of a container, perhaps, whose numbers mean others
		}
		if now, alive := startTime(owner); alive && now == start {
			continue // its caller sees to it
		}
		mark := variable + "=" + strings.TrimSuffix(name, filepath.Ext(name))
		one := Abandoned{Record: name}
		if sessionHas(pid, mark) {
			one.Session = pid
			if !killSession(pid, leftoverGrace) {
				errs = append(errs, fmt.Errorf("the processes of session %d cannot be killed", pid))
				continue
			}
		}
		if c := recordedCgroup(target); c != "" {
			c.kill()
			c.remove(leftoverGrace)
		}
		// Of two that do this at once, one removes it.
		if err := os.Remove(name); err == nil {
			ended = append(ended, one)
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return ended, errors.Join(errs...)
}

// recordedCgroup returns the cgroup that a record names, if it does. Its name is
// random, so it is nobody else's.
func recordedCgroup(target string) cgroup {
	fields := strings.SplitN(target, " ", 5)
	if len(fields) < 5 || !strings.HasPrefix(filepath.Base(fields[4]), cgroupPrefix) {
		return ""
	}
	return cgroup(fields[4])
}

// namespace names that of the numbers of processes.
func namespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil || strings.ContainsAny(name, " \t\n") {
		return "unknown"
	}
	return name
}

// readRecord reads a record that the present user wrote.
func readRecord(name string) (target string, ok bool) {
	info, err := os.Lstat(name)
	if err != nil {
		return "", false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Geteuid() {
		return "", false
	}
	target, err = os.Readlink(name)
	return target, err == nil
}

// startTime is when a process started, in a form that is good to compare; ok is
// false where there is none.
func startTime(pid int) (start string, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const startField = 19 // the 22nd of all, in clock ticks since the boot
	if len(fields) <= startField || fields[0][0] == 'Z' {
		return "", false
	}
	return string(fields[startField]), true
}

// sessionHas reports whether a living process of the session has a variable.
func sessionHas(sid int, mark string) bool {
	members, _ := sessionMembers(sid)
	return slices.ContainsFunc(members, func(m member) bool {
		environ, err := os.ReadFile("/proc/" + strconv.Itoa(m.pid) + "/environ")
		return err == nil && strings.Contains("\x00"+string(environ), "\x00"+mark+"\x00")
	})
}
