package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// fewTasks is the size of the small backlog for comparison. It fills a
	// manager's memory.
	fewTasks = 600
	// slots is the concurrency.
	slots = 8
	// allPayloads is the total size of a large backlog's payloads, in bytes.
	allPayloads = 32 << 20
	// moreMemory is how much more memory a process may use for a large backlog
	// than for the small one, in KiB: only noise of the garbage collector. It
	// is too little for all payloads.
	moreMemory = 24 << 10
	// disorder is how far from its turn a task may start: tasks created at once
	// are published in any order, and the first ones are in memory while older
	// ones are read.
	disorder = 1024
)

// backlogSize returns the number of tasks to wait for the endpoint.
func backlogSize(t *testing.T) int {
	t.Helper()
	value := os.Getenv("TASKER_TEST_BACKLOG")
	if value == "" {
		return 2000
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1000 {
		t.Fatalf("invalid TASKER_TEST_BACKLOG %q: must be a number, at least 1000", value)
	}
	return n
}

// A large backlog for an endpoint that is down affects nothing else. When the
// endpoint is back, its manager runs the oldest tasks first, and needs no more
// memory than for a small backlog.
func TestBacklog(t *testing.T) {
	t.Parallel()
	size := backlogSize(t)
	s := newSystem(t, fmt.Sprintf(`TASKER_TASK_TYPES=[{name: sleep, concurrency: %d}]`, slots))
	api := s.api()
	// From here on its tasks expect the endpoint.
	if code := s.manager("console1").stop(); code != 0 {
		t.Fatalf("exit code %d of the manager", code)
	}
	payload := `{"seconds":0` + strings.Repeat(" ", allPayloads/size) + "}" // the API keeps the spaces
	s.queueUp("few", payload, fewTasks)
	few := s.workOff(fewTasks, 0)
	apiFew := api.peak()
	// The first ones run long enough for all others to be recorded meanwhile.
	for i := range slots {
		s.accept("sleep", fmt.Sprintf(`{"identifier":"long%d","payload":{"seconds":%d}}`, i, 8+size/400))
	}
	s.queueUp("many", payload, size)
	apiMany := api.peak()
	many := s.workOff(size+slots, fewTasks)
	t.Logf("peak memory of the API: %d MiB for %d tasks, %d MiB for %d; of the manager: %d MiB and %d MiB",
		apiFew>>10, fewTasks, apiMany>>10, size, few>>10, many>>10)
	if apiMany > apiFew+moreMemory || many > few+moreMemory {
		t.Errorf("memory grows with the backlog")
	}
}

// queueUp creates tasks, retrying refused POSTs, and checks that everything
// stays ready meanwhile.
func (s *system) queueUp(prefix, payload string, size int) {
	s.t.Helper()
	const clients = 32
	c := s.crowd(clients)
	c.payload = payload
	stop := make(chan struct{})
	var probes, posts sync.WaitGroup
	probes.Go(func() { s.probe(c, stop) })
	begin := time.Now()
	var next, refused atomic.Int64
	for range clients {
		posts.Go(func() {
			for i := next.Add(1); i <= int64(size); i = next.Add(1) {
				n, err := c.insist(fmt.Sprint(prefix, i))
				if err != nil {
					s.t.Errorf("POST %s%d: %v", prefix, i, err)
					return
				}
				refused.Add(int64(n))
			}
		})
	}
	posts.Wait()
	took := time.Since(begin)
	close(stop)
	probes.Wait()
	s.t.Logf("%d tasks created in %.1f s, %.0f/s, %d refused temporarily", size, took.Seconds(), float64(size)/took.Seconds(), refused.Load())
}

// workOff starts the manager, waits until all tasks are done (before of them
// are older), stops it, and returns its peak memory in KiB.
func (s *system) workOff(size, before int) (peak int) {
	s.t.Helper()
	begin := time.Now()
	p := s.manager("console1")
	s.untilIdle(p)
	took := time.Since(begin)
	if n := s.count("DONE"); n != size+before {
		s.t.Errorf("%d tasks are DONE, want %d", n, size+before)
	}
	peak = p.peak()
	if code := p.stop(); code != 0 {
		s.t.Errorf("exit code %d of the manager", code)
	}
	order := p.starts()
	runs := map[int64]int{}
	off := 0
	for place, id := range order {
		runs[id]++
		// The ids are consecutive, since every task is new.
		off = max(off, place-int(id-int64(before)-1), int(id-int64(before)-1)-place)
	}
	if len(runs) != size || len(order) != size {
		s.t.Errorf("%d tasks started %d times, want %d once each", len(runs), len(order), size)
	}
	s.t.Logf("%d tasks performed in %.1f s, %.0f/s, at most %d places from their turn",
		size, took.Seconds(), float64(size)/took.Seconds(), off)
	if off > disorder {
		s.t.Errorf("a task started %d places from its turn", off)
	}
	return peak
}

// untilIdle waits until no task is open, as long as there is progress.
func (s *system) untilIdle(p *process) {
	s.t.Helper()
	const timeout = time.Minute
	started, deadline := -1, time.Now().Add(timeout)
	for {
		open := false
		for _, status := range []string{"CREATED", "SENT", "INCOMPLETE"} {
			var page struct{ Tasks []struct{ Identifier string } }
			code, _, err := s.request(http.MethodGet, "/sleep?limit=1&status="+status, "", &page)
			open = open || err != nil || code != http.StatusOK || len(page.Tasks) > 0
		}
		if !open {
			return
		}
		if n := len(p.starts()); n > started {
			started, deadline = n, time.Now().Add(timeout)
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no progress; %d tasks started", started)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-s.t.Context().Done():
			s.t.Fatal("the test was canceled")
		}
	}
}

// peak returns the process's peak memory, in KiB.
func (p *process) peak() int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		p.t.Fatalf("no VmHWM in:\n%s", status)
	}
	n, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
