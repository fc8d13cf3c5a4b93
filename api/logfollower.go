package api

import (
	"time"

	"github.com/taskerhq/tasker"
)

// logFollower knows which lines of a task's logs were told.
//
// Stored pieces have rising ids, but pieces of different managers may become
// visible in another order. So where several endpoints write, it reads again
// from time to time what came within an overlap of time, and drops what was
// told by the lines' numbers; the pieces of one attempt are written one after
// another. The id that a client resumes from lags behind for the same reason.
type logFollower struct {
	overlap time.Duration
	settled int64     // all pieces up to this id were seen
	head    int64     // the greatest id that was seen
	marks   []logMark // of head, as it rose
	reread  time.Time // when it read from settled on last
	resumed bool
	told    map[attemptKey]int64 // the next line of each attempt
}

type logMark struct {
	id int64
	at time.Time
}

type attemptKey struct {
	endpoint string
	attempt  int
}

func newLogFollower(after int64, overlap time.Duration) logFollower {
	return logFollower{overlap: overlap, settled: after, head: after, resumed: after > 0, told: map[attemptKey]int64{}}
}

// from gives the id after which to read.
func (l *logFollower) from(now time.Time, writers int) int64 {
	if writers > 1 && now.Sub(l.reread) >= l.overlap/2 {
		l.reread = now
		return l.settled
	}
	return l.head
}

// take gives the lines of a piece that were not told yet. A piece that is not
// kept any longer, although nobody told it, is a gap.
func (l *logFollower) take(chunk tasker.LogChunk, now time.Time) (lines []tasker.LogLine) {
	if chunk.ID > l.head {
		l.head = chunk.ID
		l.marks = append(l.marks, logMark{chunk.ID, now})
	}
	key := attemptKey{chunk.Endpoint, chunk.Attempt}
	next, known := l.told[key]
	for _, line := range chunk.Lines {
		if !known && l.resumed {
			next, known = line.Number, true // told before, up to here
		}
		end := line.Number + max(1, line.LeftOut)
		if end <= next {
			continue
		}
		if line.Number > next {
			lines = append(lines, tasker.LogLine{Number: next, Time: line.Time, LeftOut: line.Number - next})
		}
		lines = append(lines, beginAt(line, next))
		next, known = end, true
	}
	l.told[key] = next
	return lines
}

// beginAt cuts from a gap what lies before a line.
func beginAt(line tasker.LogLine, next int64) tasker.LogLine {
	if line.LeftOut > 0 && line.Number < next {
		line.LeftOut -= next - line.Number
		line.Number = next
	}
	return line
}

// settle moves on what need not be read again.
func (l *logFollower) settle(now time.Time, writers int) {
	if writers <= 1 {
		l.settled, l.marks = l.head, l.marks[:0]
		return
	}
	for len(l.marks) > 0 && now.Sub(l.marks[0].at) >= l.overlap {
		l.settled, l.marks = l.marks[0].id, l.marks[1:]
	}
}

// follows tells whether an endpoint may have a log.
func (l *logFollower) follows(endpoint string) bool {
	if l.resumed {
		return true
	}
	for key := range l.told {
		if key.endpoint == endpoint {
			return true
		}
	}
	return false
}

// next is the line of an attempt that is to be told next. Of a stream that was
// resumed nobody knows what was told before, where nothing came since.
func (l *logFollower) next(endpoint string, attempt int) int64 {
	next, known := l.told[attemptKey{endpoint, attempt}]
	if !known && l.resumed {
		return 1<<63 - 1
	}
	return next
}
