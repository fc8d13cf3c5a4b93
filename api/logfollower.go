package api

import (
	"time"

	"github.com/taskerhq/tasker"
)

// logFollower tracks which lines of a task's logs were sent.
//
// The ids of stored chunks rise, but chunks of different managers may become
// visible in another order. So if several endpoints write, it regularly reads
// again what came within an overlap of time, and drops what was sent by the
// lines' numbers; the chunks of one attempt are written in order. The id that a
// client resumes from lags behind for the same reason.
type logFollower struct {
	overlap time.Duration
	settled int64     // all chunks up to this id were seen
	head    int64     // the greatest id that was seen
	marks   []logMark // of head, as it rose
	reread  time.Time // when it last read from settled on
	resumed bool
	sent    map[attemptKey]int64 // the next line of each attempt
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
	return logFollower{overlap: overlap, settled: after, head: after, resumed: after > 0, sent: map[attemptKey]int64{}}
}

// from returns the id after which to read.
func (l *logFollower) from(now time.Time, writers int) int64 {
	if writers > 1 && now.Sub(l.reread) >= l.overlap/2 {
		l.reread = now
		return l.settled
	}
	return l.head
}

// take returns the lines of a chunk that were not sent yet. A chunk that was
// deleted before it was sent becomes a gap.
func (l *logFollower) take(chunk tasker.LogChunk, now time.Time) (lines []tasker.LogLine) {
	if chunk.ID > l.head {
		l.head = chunk.ID
		l.marks = append(l.marks, logMark{chunk.ID, now})
	}
	key := attemptKey{chunk.Endpoint, chunk.Attempt}
	next, known := l.sent[key]
	for _, line := range chunk.Lines {
		if !known && l.resumed {
			next, known = line.Number, true // sent before, up to here
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
	l.sent[key] = next
	return lines
}

// beginAt removes from a gap what lies before a line.
func beginAt(line tasker.LogLine, next int64) tasker.LogLine {
	if line.LeftOut > 0 && line.Number < next {
		line.LeftOut -= next - line.Number
		line.Number = next
	}
	return line
}

// settle advances past what need not be read again.
func (l *logFollower) settle(now time.Time, writers int) {
	if writers <= 1 {
		l.settled, l.marks = l.head, l.marks[:0]
		return
	}
	for len(l.marks) > 0 && now.Sub(l.marks[0].at) >= l.overlap {
		l.settled, l.marks = l.marks[0].id, l.marks[1:]
	}
}

// follows reports whether an endpoint may have a log.
func (l *logFollower) follows(endpoint string) bool {
	if l.resumed {
		return true
	}
	for key := range l.sent {
		if key.endpoint == endpoint {
			return true
		}
	}
	return false
}

// next returns the next line of an attempt to send. After a resume it is unknown,
// and taken to be the end, until a line comes.
func (l *logFollower) next(endpoint string, attempt int) int64 {
	next, known := l.sent[attemptKey{endpoint, attempt}]
	if !known && l.resumed {
		return 1<<63 - 1
	}
	return next
}
