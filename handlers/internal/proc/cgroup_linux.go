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

// A cgroup (v2) of its own holds all that a program starts, with sessions of
// their own or not, and takes limits for all of it together. It can be made
// where somebody has delegated a cgroup to this process: systemd does, for a unit
// with Delegate=yes. Without one, programs run as they do elsewhere.

// cgroup is the directory of a program's cgroup, or empty.
type cgroup string

// cgroupPrefix begins the names of the cgroups of programs.
const cgroupPrefix = "tasker-run-"

// newCgroup makes a cgroup for a program, or none where none can be made.
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

// limit sets those limits that the kernel holds for all processes together. Where
// the controllers are missing, there are the limits of each process.
func (c cgroup) limit(limits *Limits) {
	if limits.Processes > 0 {
		c.set("pids.max", strconv.Itoa(limits.Processes))
	}
	if limits.Memory > 0 {
		c.set("memory.max", strconv.FormatInt(limits.Memory, 10))
		c.set("memory.oom.group", "1") // all of it ends, not a part
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

// enableControllers lets the cgroups in base have limits. A cgroup with
// processes in it cannot pass controllers on, so this process moves into one
// beside those of its programs.
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

// kill kills all that is in the cgroup.
func (c cgroup) kill() {
	if c != "" {
		c.set("cgroup.kill", "1") // since Linux 5.14; the session has been ended before
	}
}

// remove removes the cgroup, unless a daemon is still in it, for which it waits
// for at most the limit.
func (c cgroup) remove(limit time.Duration) (removed bool) {
	return c == "" || poll(limit, func() bool {
		err := unix.Rmdir(string(c))
		return err == nil || errors.Is(err, unix.ENOENT)
	})
}

// removeEmptyCgroups removes what daemons have left that have ended since.
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

// delegatedCgroup returns the directory of the cgroup that is delegated to this
// process: its own one, or that around it (DelegateSubgroup=). It is empty where
// there is none.
func delegatedCgroup() string {
	own := ownCgroup()
	for _, dir := range []string{own, filepath.Dir(own)} {
		if own != "" && delegated(dir) {
			return dir
		}
	}
	return ""
}

// delegated reports whether a cgroup is ours to divide: systemd marks those that
// are. One that belongs to this user, who is not root, is, too.
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

// ownCgroup returns the directory of this process's cgroup, or nothing.
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

// cgroupMount returns where cgroups (v2) are mounted, and which one is there.
func cgroupMount() (root, mount string) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	defer file.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && !strings.Contains(fields[4], `\`) {
			return fields[3], fields[4]
		}
	}
	return "", ""
}
