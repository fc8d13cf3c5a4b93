package proc

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A cgroup (v2) contains everything that a program starts, whatever its session, and has
// limits for all of it together. It can be created if a cgroup is delegated to
// this process, as systemd does for a unit with Delegate=yes. Otherwise programs
// run without one.

// cgroup is the directory of a program's cgroup, or empty.
type cgroup string

// cgroupPrefix begins the names of the cgroups of programs.
const cgroupPrefix = "tasker-run-"

// newCgroup creates a cgroup for a program, or returns an empty one if that is impossible.
func newCgroup(limits *Limits) cgroup {
	base := delegatedCgroup()
	if base == "" {
		return ""
	}
	dir, err := os.MkdirTemp(base, cgroupPrefix)
	if err != nil {
		return ""
	}
	c := cgroup(dir)
	if limits.Memory > 0 || limits.Processes > 0 {
		enableControllers(base)
		c.limit(limits)
	}
	return c
}

// limit sets the limits that apply to all processes together. If a controller is missing,
// there are only the limits of each process.
func (c cgroup) limit(limits *Limits) {
	if limits.Processes > 0 {
		c.set("pids.max", strconv.Itoa(limits.Processes))
	}
	if limits.Memory > 0 {
		c.set("memory.max", strconv.FormatInt(limits.Memory, 10))
		c.set("memory.oom.group", "1") // kill all of it, not one process
	}
}

func (c cgroup) set(file, value string) bool { return writeTo(string(c), file, value) == nil }

func writeTo(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// enableControllers allows limits of the cgroups in base. A cgroup that contains processes
// cannot pass controllers on, so this process moves into one beside those of its
// programs.
func enableControllers(base string) {
	const controllers = "+pids +memory"
	if err := writeTo(base, "cgroup.subtree_control", controllers); !errors.Is(err, unix.EBUSY) {
		return
	}
	own := filepath.Join(base, "tasker-manager")
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	if writeTo(own, "cgroup.procs", strconv.Itoa(os.Getpid())) == nil {
		_ = writeTo(base, "cgroup.subtree_control", controllers)
	}
}

// kill kills everything in the cgroup.
func (c cgroup) kill() {
	if c != "" {
		c.set("cgroup.kill", "1") // Linux 5.14 or newer; the session has ended anyway
	}
}

// remove removes the cgroup, if it becomes empty within the limit: a daemon may be in it.
func (c cgroup) remove(limit time.Duration) (removed bool) {
	return c == "" || poll(limit, func() bool {
		err := unix.Rmdir(string(c))
		return err == nil || errors.Is(err, unix.ENOENT)
	})
}

// removeEmptyCgroups removes the cgroups of daemons that have exited since.
func removeEmptyCgroups() {
	base := delegatedCgroup()
	if base == "" {
		return
	}
	names, _ := filepath.Glob(filepath.Join(base, cgroupPrefix+"*"))
	for _, name := range names {
		_ = unix.Rmdir(name)
	}
}

// delegatedCgroup returns the directory of the cgroup that is delegated to this process:
// its own, or the parent (DelegateSubgroup=). It is empty if there is none.
func delegatedCgroup() string {
	own := ownCgroup()
	for _, dir := range []string{own, filepath.Dir(own)} {
		if own != "" && delegated(dir) {
			return dir
		}
	}
	return ""
}

// delegated reports whether a cgroup is delegated: systemd marks those that are. One that
// belongs to this user, unless that is root, is delegated as well.
func delegated(dir string) bool {
	if unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil {
		return false
	}
	value := make([]byte, 8)
	for _, mark := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, mark, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	var stat unix.Stat_t
	return os.Geteuid() != 0 && unix.Stat(dir, &stat) == nil && int(stat.Uid) == os.Geteuid()
}

// ownCgroup returns the directory of this process's cgroup, or an empty string.
func ownCgroup() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		root, mount := cgroupMount()
		inside, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
		if mount == "" || !ok || strings.Contains(path, "/..") {
			return ""
		}
		return filepath.Join(mount, inside)
	}
	return ""
}

// cgroupMount returns where cgroups (v2) are mounted, and which one is the root there.
func cgroupMount() (root, mount string) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	defer file.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && !strings.Contains(fields[4], `\`) {
			return fields[3], fields[4]
		}
	}
	return "", ""
}
