// Package tasklog collects the log lines of an attempt within fixed limits. When
// an attempt logs more than that, it keeps the beginning and the end, and records
// how many lines it left out.
package tasklog

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// The limits of an attempt's log, in bytes of the stored form.
const (
	// MaxLine bounds the text of one line; the rest of the line is cut off.
	MaxLine = 8 << 10
	// MaxBurst is roughly the most that one Take returns. The allowance refills
	// by MaxFlush with each second between lines, and is never below MaxFlush.
	// Half of it goes to the first lines since the last Take, half to the latest.
	MaxBurst = 256 << 10
	MaxFlush = 64 << 10
	// MaxHead is how much of the beginning of the log is kept for good.
	MaxHead = 256 << 10
	// MaxTail is how much of its end is kept.
	MaxTail = 256 << 10
)

// Collector collects the log of one attempt in bounded memory, even if Take is
// never called. All methods are safe for concurrent use and never block.
type Collector struct {
	mu     sync.Mutex
	totals tasker.LogTotals

	// The lines added since the last Take: the first ones until they fill half
	// of room, then the latest ones in the other half.
	room                  int
	since                 time.Time // the time of the line at which room was last computed
	first, latest         []tasker.LogLine
	firstSize, latestSize int
	skipped               int64 // lines left out between first and latest

	// What Take has returned so far: the size of the head, and the pieces of
	// the tail, oldest first.
	head     int
	headEnd  int64 // the number of the first line of the tail
	tail     []piece
	tailSize int
}

// piece is what one Take returned.
type piece struct {
	end  int64 // the number after its last line
	kept int64 // its lines, gaps not counted
	size int
}

// Part is the next part of a log to store.
type Part struct {
	Lines  []tasker.LogLine // in order, with gaps; nil if there are none
	Totals tasker.LogTotals
	// DropFrom and DropTo are line numbers: stored parts between them are to be
	// deleted. Both are 0 if there is nothing to delete.
	DropFrom, DropTo int64
	Size             int // the approximate size of Lines
}

// New returns a collector that continues from what the attempt's earlier steps
// have logged; the zero value starts a new log.
func New(before tasker.LogTotals) *Collector {
	before.Complete = false
	return &Collector{
		totals: before, headEnd: before.Lines, room: MaxBurst,
		head: int(min(before.Bytes+lineOverhead*(before.Lines-before.LeftOut), MaxHead)),
	}
}

// Add adds one or more lines. The newline after the last one is optional.
// Invalid UTF-8 is replaced.
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
	// Clone, so as not to keep the whole of said in memory.
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
		clear(c.latest[:n]) // frees the texts; append reclaims the slots later
		c.latest = c.latest[n:]
	}
}

// Take returns the lines added since the last Take, about [MaxBurst] at most. The
// caller must store them, or retry, before calling Take again.
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

// Pending returns the approximate size of what the next Take returns, in bytes.
func (c *Collector) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.firstSize + c.latestSize
}

// Totals returns how much has been logged so far.
func (c *Collector) Totals() tasker.LogTotals {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totals
}

// lineOverhead is roughly what a stored line takes besides its text.
const lineOverhead = 96

// weigh returns the size of a line in its stored form, JSON, which writes some
// characters in six bytes.
func weigh(line string) int {
	size := len(line) + lineOverhead
	for i := range len(line) {
		if c := line[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x7f {
			size += 5
		}
	}
	return size
}
