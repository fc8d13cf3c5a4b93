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

// record writes the record of the running program to Spec.Record: a symbolic link, since
// that is the cheapest file that appears at once and complete.
func (p *Process) record() error {
	if p.spec.Record == "" {
		return nil
	}
	start, ok := startTime(os.Getpid())
	if !ok {
		return nil // without /proc it could not be used
	}
	note := fmt.Sprintf("%d %d %s %s", p.process.Pid, os.Getpid(), start, namespace())
	if p.cgroup != "" {
		note += " " + string(p.cgroup)
	}
	return os.Symlink(note, p.spec.Record)
}

// forget removes the record, when nothing of the program is left.
func (p *Process) forget() {
	if p.spec.Record != "" {
		_ = os.Remove(p.spec.Record)
	}
}

// KillAbandoned kills what is left of programs whose caller died: the programs died with
// it, but what they had started did not. pattern matches the records (see
// Spec.Record) as for [filepath.Glob]. A process is recognized by the variable in
// its environment, with the path of its record without the extension, so that a
// reused process id does no harm. Records of other users are ignored. What was in
// the program's cgroup is killed as well. It removes the records of the programs
// that have ended, and returns them.
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
			continue // of a container, perhaps, with its own process ids
		}
		if now, alive := startTime(owner); alive && now == start {
			continue // its caller still runs
		}
		mark := variable + "=" + strings.TrimSuffix(name, filepath.Ext(name))
		one := Abandoned{Record: name}
		if sessionHas(pid, mark) {
			one.Session = pid
			if !killSession(pid, leftoverGrace) {
				errs = append(errs, fmt.Errorf("cannot kill the processes of session %d", pid))
				continue
			}
		}
		if c := recordedCgroup(target); c != "" {
			c.kill()
			c.remove(leftoverGrace)
		}
		// If two do this at once, one of them removes it.
		if err := os.Remove(name); err == nil {
			ended = append(ended, one)
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return ended, errors.Join(errs...)
}

// recordedCgroup returns the cgroup in a record, if it has one. Its name is random, and
// so cannot be another one's.
func recordedCgroup(target string) cgroup {
	fields := strings.SplitN(target, " ", 5)
	if len(fields) < 5 || !strings.HasPrefix(filepath.Base(fields[4]), cgroupPrefix) {
		return ""
	}
	return cgroup(fields[4])
}

// namespace returns the name of the namespace of process ids.
func namespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil || strings.ContainsAny(name, " \t\n") {
		return "unknown"
	}
	return name
}

// readRecord reads a record that the current user wrote.
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

// startTime returns when a process started, in a form that can be compared. ok is false
// if there is no such process.
func startTime(pid int) (start string, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const startField = 19 // the 22nd field, in clock ticks since boot
	if len(fields) <= startField || fields[0][0] == 'Z' {
		return "", false
	}
	return string(fields[startField]), true
}

// sessionHas reports whether a living process of a session has a variable.
func sessionHas(sid int, mark string) bool {
	members, _ := sessionMembers(sid)
	return slices.ContainsFunc(members, func(m member) bool {
		environ, err := os.ReadFile("/proc/" + strconv.Itoa(m.pid) + "/environ")
		return err == nil && strings.Contains("\x00"+string(environ), "\x00"+mark+"\x00")
	})
}
