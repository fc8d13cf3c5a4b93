// Package usage reads what processes and servers have used: CPU time and memory
// from /proc, statements from MariaDB, and messages from RabbitMQ.
package usage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc on every Linux that Go supports.
const tick = 10 * time.Millisecond

// Process is what a process has used.
type Process struct {
	CPU      time.Duration // user and system time
	Resident int64         // bytes
}

// Of returns what the processes and all their descendants have used, added up. A
// process that has ended counts nothing, and neither does 0, an unknown one.
func Of(pids ...int) (Process, error) {
	var total Process
	parents, err := children()
	if err != nil {
		return total, err
	}
	todo := slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return pid <= 0 })
	for len(todo) > 0 {
		pid := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], parents[pid]...)
		one, err := read(pid)
		if err != nil {
			continue // it has ended
		}
		total.CPU += one.CPU
		total.Resident += one.Resident
	}
	return total, nil
}

// children returns the children of every process.
func children() (map[int][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := map[int][]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		fields, err := stat(pid)
		if err != nil {
			continue // it has ended
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			all[parent] = append(all[parent], pid)
		}
	}
	return all, nil
}

func read(pid int) (Process, error) {
	fields, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("user time of process %d: %w", pid, err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("system time of process %d: %w", pid, err)
	}
	pages, err := strconv.ParseInt(fields[21], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("resident memory of process %d: %w", pid, err)
	}
	return Process{time.Duration(user+system) * tick, pages * int64(os.Getpagesize())}, nil
}

// stat returns the fields of /proc/<pid>/stat after the command: the state is the
// first.
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The command is in parentheses, and may contain some.
	end := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 22 {
		return nil, fmt.Errorf("process %d: too few fields in stat", pid)
	}
	return fields, nil
}

// Server returns the process that listens on a TCP port of this machine, if it
// runs one of the programs: a container's proxy may listen in place of the server.
// It is not found in another container, and if another user's processes are not
// readable.
func Server(port string, programs ...string) (pid int, ok bool) {
	inodes := listeners(port)
	if len(inodes) == 0 {
		return 0, false
	}
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, false
	}
	for _, file := range files {
		target, err := os.Readlink(file)
		if err != nil || !inodes[target] {
			continue
		}
		id := strings.Split(file, "/")[2]
		name, err := os.ReadFile("/proc/" + id + "/comm")
		if err != nil || !slices.Contains(programs, strings.TrimSpace(string(name))) {
			continue
		}
		pid, err := strconv.Atoi(id)
		return pid, err == nil
	}
	return 0, false
}

// listeners returns the sockets that listen on a TCP port, as the links in
// /proc/<pid>/fd name them.
func listeners(port string) map[string]bool {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	suffix := fmt.Sprintf(":%04X", n)
	const listening = "0A"
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == listening {
				sockets["socket:["+fields[9]+"]"] = true
			}
		}
	}
	return sockets
}
