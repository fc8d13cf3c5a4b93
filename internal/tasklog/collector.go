// Package tasklog gathers what an attempt at a task logs, however much it is:
// of a flood it keeps what fits within fixed limits, and says what it left
// out.
package tasklog

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// The limits of an attempt's log. Sizes are those of the lines' stored form.
const (
	// MaxLine bounds what is kept of a line, in bytes of its text.
	MaxLine = 8 << 10
	// MaxBurst is about the most that one Take gives, and MaxFlush what it may
	// give where the last ones gave all that they might: each second of the
	// lines' time adds so much. The first half of it are the first lines since
	// the last Take, the second half the latest.
	MaxBurst = 256 << 10
	MaxFlush = 64 << 10
	// MaxHead is how much of the log's beginning stays for good.
	MaxHead = 256 << 10
	// MaxTail is how much stays of its end.
	MaxTail = 256 << 10
)

// Collector gathers the log of one attempt. Its memory is bounded, whatever
// comes and however long nothing is taken out. All methods are safe for
// concurrent use, and return at once.
type Collector struct {
	mu     sync.Mutex
	totals tasker.LogTotals

	// What has come since the last Take, at most half of room each: the first
	// lines and, when these are full, the latest.
	room                  int
	since                 time.Time // of the first line that room was counted for
	first, latest         []tasker.LogLine
	firstSize, latestSize int
	skipped               int64 // lines between first and latest that were left out

	// What was given to be stored: the size of the head, and the pieces of the
	// tail, oldest first.
	head     int
	headEnd  int64 // the number of the first line of the tail
	tail     []piece
	tailSize int
}

// piece is what one Take gave.
type piece struct {
	end  int64 // the number behind its last line
	kept int64 // its lines that are no gap
	size int
}

// Part is what is to be stored next of a log.
type Part struct {
	Lines  []tasker.LogLine // in order, with gaps; nil for none
	Totals tasker.LogTotals
	// DropFrom and DropTo are the line numbers between which stored parts are
	// to be dropped; both are 0 for none.
	DropFrom, DropTo int64
	Size             int // about what Lines take
}

// New makes a collector for an attempt that has logged so much before, in its
// earlier steps; the zero totals are for a new one.
func New(before tasker.LogTotals) *Collector {
	before.Complete = false
	return &Collector{
		totals: before, headEnd: before.Lines, room: MaxBurst,
		head: int(min(before.Bytes+lineOverhead*(before.Lines-before.LeftOut), MaxHead)),
	}
}

// Add takes a line, or several; a line end behind the last one is optional.
// What is not valid UTF-8 is replaced.
func (c *Collector) Add(stream, level string, at time.Time, lines string) {
	at = at.UTC().Truncate(time.Microsecond)
	lines = strings.TrimSuffix(lines, "\n")
	for more := true; more; {
		var line string
		line, lines, more = strings.Cut(lines, "\n")
		c.add(tasker.LogLine{Time: at, Stream: stream, Level: level}, strings.TrimSuffix(line, "\r"))
	}
}

func (c *Collector) add(line tasker.LogLine, said string) {
	size := len(said)
	kept := text.Cut(said, MaxLine)
	shortened := len(kept) < size
	if !utf8.ValidString(kept) {
		valid := strings.ToValidUTF8(kept, "\uFFFD") // which may be longer
		kept = text.Cut(valid, MaxLine)
		shortened = shortened || len(kept) < len(valid)
	}
	if shortened {
		line.Size = size
	}
	// A copy, that holds on to nothing which said is a part of.
	line.Text = strings.Clone(kept)
	weight := weigh(kept)

	c.mu.Lock()
	defer c.mu.Unlock()
	line.Number = c.totals.Lines
	c.totals.Lines++
	c.totals.Bytes += int64(size)
	if len(c.first) == 0 {
		elapsed := min(max(line.Time.Sub(c.since), 0), time.Minute)
		c.room = min(max(c.room+int(elapsed.Seconds()*MaxFlush), MaxFlush), MaxBurst)
		c.since = line.Time
	}
	if len(c.first) == 0 || len(c.latest) == 0 && c.firstSize+weight <= c.room/2 {
		c.first = append(c.first, line)
		c.firstSize += weight
		return
	}
	c.latest = append(c.latest, line)
	c.latestSize += weight
	n := 0
	for ; c.latestSize > c.room/2 && n < len(c.latest)-1; n++ {
		c.latestSize -= weigh(c.latest[n].Text)
	}
	if n > 0 {
		c.skipped += int64(n)
		c.totals.LeftOut += int64(n)
		clear(c.latest[:n]) // the texts are free, and append moves the rest in time
		c.latest = c.latest[n:]
	}
}

// Take gives what has come since the last Take, at most about [MaxBurst] of
// it. It is taken to be stored: what cannot be has to be tried again before
// the next Take.
func (c *Collector) Take() Part {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := Part{Totals: c.totals}
	if len(c.first) == 0 {
		return p
	}
	p.Lines = c.first
	if c.skipped > 0 {
		last := c.first[len(c.first)-1]
		p.Lines = append(p.Lines, tasker.LogLine{Number: last.Number + 1, Time: last.Time, LeftOut: c.skipped})
	}
	p.Lines = append(p.Lines, c.latest...)
	kept := int64(len(c.first) + len(c.latest))
	size := c.firstSize + c.latestSize
	p.Size = size
	c.room -= size
	c.first, c.latest, c.firstSize, c.latestSize, c.skipped = nil, nil, 0, 0, 0

	if len(c.tail) == 0 && c.head+size <= MaxHead {
		c.head += size
		c.headEnd = c.totals.Lines
		return p
	}
	c.tail = append(c.tail, piece{end: c.totals.Lines, kept: kept, size: size})
	c.tailSize += size
	n := 0
	for ; c.tailSize > MaxTail; n++ {
		c.tailSize -= c.tail[n].size
		c.totals.LeftOut += c.tail[n].kept
		p.DropFrom, p.DropTo = c.headEnd, c.tail[n].end
	}
	c.tail = c.tail[n:]
	p.Totals = c.totals
	return p
}

// Pending tells about how much the next Take gives, in bytes.
func (c *Collector) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.firstSize + c.latestSize
}

// Totals tells how much there was so far.
func (c *Collector) Totals() tasker.LogTotals {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totals
}

// lineOverhead is about what a stored line takes besides its text.
const lineOverhead = 96

// weigh tells how much a line takes in its stored form, JSON, which writes
// some characters in six.
func weigh(line string) int {
	size := len(line) + lineOverhead
	for i := range len(line) {
		if c := line[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x7f {
			size += 5
		}
	}
	return size
}
