package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// sample is a process's resource use.
type sample struct {
	PID        int
	RSS        int64 // bytes
	Goroutines int
}

// takeSamples samples each daemon's process, omitting those that do not answer
// in time.
func takeSamples(ctx context.Context, daemons []*daemon) map[string]sample {
	var mu sync.Mutex
	samples := map[string]sample{}
	var asked sync.WaitGroup
	for _, d := range daemons {
		asked.Go(func() {
			if s, err := takeSample(ctx, d, d.current()); err == nil {
				mu.Lock()
				samples[d.name] = s
				mu.Unlock()
			}
		})
	}
	asked.Wait()
	return samples
}

// takeSample makes a process log its state and reads the log.
func takeSample(ctx context.Context, d *daemon, p *testnodes.Process) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := sample{PID: p.PID()}
	info, err := os.Stat(d.log)
	if err != nil {
		return s, err
	}
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		return s, err
	}
	for s.Goroutines == 0 {
		if !sleep(ctx, 50*time.Millisecond) {
			return s, fmt.Errorf("%s did not log its state", d.name)
		}
		if s.Goroutines, err = goroutines(d.log, info.Size()); err != nil {
			return s, err
		}
	}
	s.RSS, err = residentBytes(p.PID())
	return s, err
}

// goroutines returns the last logged number of goroutines after an offset, or
// 0.
func goroutines(log string, offset int64) (int, error) {
	file, err := os.Open(log)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(offset, 0); err != nil {
		return 0, err
	}
	count := 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg        string
			Goroutines int
		}
		if bytes.Contains(lines.Bytes(), []byte("process state")) && json.Unmarshal(lines.Bytes(), &line) == nil {
			count = line.Goroutines
		}
	}
	return count, lines.Err()
}

// residentBytes returns a process's resident memory, or 0 if unknown.
func residentBytes(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, nil
}
