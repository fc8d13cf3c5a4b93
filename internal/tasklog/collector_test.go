package tasklog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/tasklog"
)

var noon = time.Date(2026, 5, 6, 12, 0, 0, 123456789, time.FixedZone("", 3600))

// stored is a store of one attempt's log.
type stored struct {
	parts  [][]tasker.LogLine
	totals tasker.LogTotals
}

func (s *stored) save(p tasklog.Part) {
	s.totals = p.Totals
	if len(p.Lines) > 0 {
		s.parts = append(s.parts, p.Lines)
	}
	var rest [][]tasker.LogLine
	for _, part := range s.parts {
		if part[0].Number < p.DropFrom || end(part) > p.DropTo {
			rest = append(rest, part)
		}
	}
	s.parts = rest
}

func end(part []tasker.LogLine) int64 {
	last := part[len(part)-1]
	return last.Number + max(last.LeftOut, 1)
}

func size(t interface{ Fatal(...any) }, lines []tasker.LogLine) int {
	text, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

func TestSmallLog(t *testing.T) {
	t.Parallel()
	c := tasklog.New(tasker.LogTotals{})
	if p := c.Take(); p.Lines != nil || p.Totals != (tasker.LogTotals{}) {
		t.Errorf("nothing is %+v", p)
	}
	c.Add(tasker.StreamLog, "info", noon, "one")
	c.Add(tasker.StreamStdout, "", noon, "two\r\nthree\n")
	c.Add(tasker.StreamStdout, "", noon, "")
	p := c.Take()
	at := time.Date(2026, 5, 6, 11, 0, 0, 123456000, time.UTC)
	want := []tasker.LogLine{
		{Number: 0, Time: at, Stream: "log", Level: "info", Text: "one"},
		{Number: 1, Time: at, Stream: "stdout", Text: "two"},
		{Number: 2, Time: at, Stream: "stdout", Text: "three"},
		{Number: 3, Time: at, Stream: "stdout", Text: ""},
	}
	if fmt.Sprint(p.Lines) != fmt.Sprint(want) || p.Totals != (tasker.LogTotals{Lines: 4, Bytes: 11}) || p.DropTo != 0 {
		t.Errorf("got %+v", p)
	}
	c.Add(tasker.StreamStderr, "", noon, "five")
	if p := c.Take(); len(p.Lines) != 1 || p.Lines[0].Number != 4 {
		t.Errorf("got %+v", p)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", tasklog.MaxLine)
	for name, test := range map[string]struct {
		text, want string
		size       int
	}{
		"just fits":                {long, long, 0},
		"too long":                 {long + "y", long, tasklog.MaxLine + 1},
		"no character is cut":      {long[1:] + "ü", long[1:], tasklog.MaxLine + 1},
		"not UTF-8":                {"a\xff\xfeb", "a\uFFFDb", 0},
		"cut where it is no UTF-8": {long[1:] + "\xff!", long[1:], tasklog.MaxLine + 1},
		"longer when replaced":     {strings.Repeat("\xffa", 4000), strings.Repeat("\uFFFDa", tasklog.MaxLine/4), 8000},
		"only half characters":     {strings.Repeat("\x80", 2*tasklog.MaxLine), "\uFFFD", 2 * tasklog.MaxLine},
		"controls":                 {"\x00\x1b[0m\t", "\x00\x1b[0m\t", 0},
	} {
		c := tasklog.New(tasker.LogTotals{})
		c.Add(tasker.StreamStdout, "", noon, test.text)
		lines := c.Take().Lines
		if len(lines) != 1 || lines[0].Text != test.want || lines[0].Size != test.size {
			t.Errorf("%s: %d lines, the first has %d bytes, size %d", name, len(lines), len(lines[0].Text), lines[0].Size)
		}
	}
}

// TestFlood: of what comes between two flushes the first and the latest lines
// are kept, of the whole log its head and its tail.
func TestFlood(t *testing.T) {
	t.Parallel()
	c := tasklog.New(tasker.LogTotals{})
	var s stored
	n, bytes := int64(0), int64(0)
	for i := range 50 {
		from, most := n, tasklog.MaxFlush
		if i == 0 {
			most = tasklog.MaxBurst
		}
		for range 10_000 {
			text := fmt.Sprintf("line %d %s", n, strings.Repeat("x", 50))
			c.Add(tasker.StreamStdout, "", noon, text)
			n, bytes = n+1, bytes+int64(len(text))
		}
		p := c.Take()
		if got := size(t, p.Lines); got > most || got < most/2 {
			t.Fatalf("a flush has %d bytes", got)
		}
		if first, last := p.Lines[0], p.Lines[len(p.Lines)-1]; first.Number != from || last.Number != n-1 {
			t.Fatalf("a flush of lines %d to %d has %d to %d", from, n-1, first.Number, last.Number)
		}
		s.save(p)
	}
	var all []tasker.LogLine
	for _, part := range s.parts {
		all = append(all, part...)
	}
	if got := size(t, all); got > tasklog.MaxHead+tasklog.MaxTail || got < (tasklog.MaxHead+tasklog.MaxTail)/2 {
		t.Errorf("%d bytes are stored", got)
	}
	if all[0].Number != 0 || all[len(all)-1].Number != n-1 {
		t.Errorf("lines %d to %d are stored of %d", all[0].Number, all[len(all)-1].Number, n)
	}
	kept := int64(0)
	for _, line := range all {
		if line.LeftOut == 0 {
			kept++
		}
	}
	if s.totals != (tasker.LogTotals{Lines: n, Bytes: bytes, LeftOut: n - kept}) {
		t.Errorf("%+v, want %d lines, %d bytes, %d kept", s.totals, n, bytes, kept)
	}
}

// TestBurst: who has been quiet may say more at once.
func TestBurst(t *testing.T) {
	t.Parallel()
	c := tasklog.New(tasker.LogTotals{})
	burst := func(at time.Time) (leftOut int64) {
		for i := range 2_000 {
			c.Add(tasker.StreamStdout, "", at, fmt.Sprint("line ", i))
		}
		for _, line := range c.Take().Lines {
			leftOut += line.LeftOut
		}
		return leftOut
	}
	if n := burst(noon); n != 0 {
		t.Errorf("at first: %d of 2000 lines are left out", n)
	}
	if n := burst(noon.Add(time.Millisecond)); n < 1_000 {
		t.Errorf("at once again: %d of 2000 lines are left out", n)
	}
	if n := burst(noon.Add(10 * time.Second)); n != 0 {
		t.Errorf("after some seconds: %d of 2000 lines are left out", n)
	}
}

// TestAnyLog: whatever is logged and whenever it is taken, the parts follow
// each other, each line is what was logged, every number is a line or in a gap,
// and the totals are true.
func TestAnyLog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := tasker.LogTotals{}
		if rapid.Bool().Draw(t, "a later step") {
			before = tasker.LogTotals{Lines: 1000, Bytes: rapid.Int64Range(0, 1<<20).Draw(t, "bytes before"), LeftOut: 10, Complete: true}
		}
		c := tasklog.New(before)
		var s stored
		logged := map[int64]string{}
		next, bytes := before.Lines, before.Bytes
		for range rapid.IntRange(1, 15).Draw(t, "rounds") {
			lines := rapid.IntRange(0, 120).Draw(t, "lines")
			length := rapid.SampledFrom([]int{0, 1, 100, 2000, tasklog.MaxLine, tasklog.MaxLine + 1}).Draw(t, "length")
			filler := rapid.SampledFrom([]string{"x", "\x00", "\xff", "ü", `"`}).Draw(t, "filler")
			text := strings.Repeat(filler, length)[:length]
			for range lines {
				c.Add(tasker.StreamStdout, "", noon, text)
				logged[next] = text
				next, bytes = next+1, bytes+int64(length)
			}
			p := c.Take()
			if got := size(t, p.Lines); got > 2*tasklog.MaxBurst {
				t.Fatalf("a flush has %d bytes", got)
			}
			s.save(p)
			if len(p.Lines) > 0 {
				expect := next - int64(lines)
				for _, line := range p.Lines {
					if line.Number != expect {
						t.Fatalf("line %d follows %d", line.Number, expect-1)
					}
					expect += max(line.LeftOut, 1)
				}
				if expect != next {
					t.Fatalf("a flush ends at %d, want %d", expect, next)
				}
			} else if lines > 0 {
				t.Fatal("a flush is empty")
			}
		}
		kept, stored := int64(0), 0
		for _, part := range s.parts {
			stored += size(t, part)
			for _, line := range part {
				if line.LeftOut > 0 {
					continue
				}
				kept++
				text := logged[line.Number]
				if !utf8.ValidString(line.Text) || len(line.Text) > tasklog.MaxLine || line.Size != 0 && line.Size != len(text) ||
					line.Size == 0 && line.Text != strings.ToValidUTF8(text, "\uFFFD") {
					t.Fatalf("line %d is not what was logged", line.Number)
				}
			}
		}
		if want := (tasker.LogTotals{Lines: next, Bytes: bytes, LeftOut: next - before.Lines - kept + before.LeftOut}); s.totals != want {
			t.Fatalf("%+v, want %+v", s.totals, want)
		}
		if stored > tasklog.MaxHead+tasklog.MaxTail+2*tasklog.MaxBurst {
			t.Fatalf("%d bytes are stored", stored)
		}
	})
}

// TestConcurrentLines: lines come from any goroutine, and none is counted
// twice or not at all.
func TestConcurrentLines(t *testing.T) {
	t.Parallel()
	c := tasklog.New(tasker.LogTotals{})
	const writers, lines = 8, 2000
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := range lines {
				c.Add(tasker.StreamLog, "info", noon, fmt.Sprint("line ", i))
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	var s stored
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		s.save(c.Take())
	}
	if s.totals.Lines != writers*lines || c.Totals() != s.totals {
		t.Errorf("%+v", s.totals)
	}
}

func BenchmarkAdd(b *testing.B) {
	c := tasklog.New(tasker.LogTotals{})
	text := strings.Repeat("x", 100)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		c.Add(tasker.StreamStdout, "", noon, text)
		if n++; n%10_000 == 0 { // a flush each second
			c.Take()
		}
	}
}
