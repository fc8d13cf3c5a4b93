package proc

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/taskerhq/tasker/internal/x/text"
)

var (
	_ io.Writer = (*Head)(nil)
	_ io.Writer = (*Tail)(nil)
	_ io.Writer = (*Lines)(nil)
)

// Head is a writer that keeps the first Limit bytes, and counts all.
type Head struct {
	Limit int
	Kept  []byte
	Size  int64
}

// Write never fails.
func (h *Head) Write(p []byte) (int, error) {
	h.Size += int64(len(p))
	h.Kept = append(h.Kept, p[:min(len(p), h.Limit-len(h.Kept))]...)
	return len(p), nil
}

// Truncated reports whether more was written than is kept.
func (h *Head) Truncated() bool { return h.Size > int64(len(h.Kept)) }

// Tail is a writer that keeps the last Limit bytes, and counts all.
type Tail struct {
	Limit int
	Size  int64
	buf   []byte // at most twice Limit
}

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.Size += int64(len(p))
	rest := p[max(0, len(p)-t.Limit):]
	if len(t.buf)+len(rest) > 2*t.Limit {
		keep := t.buf[max(0, len(t.buf)-t.Limit):]
		t.buf = t.buf[:copy(t.buf, keep)]
	}
	t.buf = append(t.buf, rest...)
	return len(p), nil
}

// Text returns what is kept, as valid UTF-8, without surrounding white space.
func (t *Tail) Text() string {
	kept := t.buf[max(0, len(t.buf)-t.Limit):]
	if t.Size > int64(len(kept)) { // do not begin in the middle of a character
		for i := 0; i < utf8.UTFMax && len(kept) > 0 && !utf8.RuneStart(kept[0]); i++ {
			kept = kept[1:]
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(kept), "\uFFFD"))
}

// Lines is a writer that calls Each with each line, without its line end, as soon as it is
// complete. Call Flush in the end.
type Lines struct {
	// Limit bounds a line, in bytes; at least 8. A longer one is split, or, if
	// TooLong is set, dropped: TooLong is called with its size.
	Limit   int
	Each    func(line []byte) // must not keep line
	TooLong func(size int64)

	part    []byte // the line so far
	dropped int64  // bytes of a line that is too long
}

// Write never fails.
func (l *Lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		l.add(line)
		if whole {
			l.end()
		}
	}
	return len(p), nil
}

// Flush ends a last line without a line end.
func (l *Lines) Flush() {
	if len(l.part) > 0 || l.dropped > 0 {
		l.end()
	}
	l.part = nil
}

func (l *Lines) add(piece []byte) {
	if l.TooLong != nil && (l.dropped > 0 || len(l.part)+len(piece) > l.Limit) {
		l.dropped += int64(len(l.part) + len(piece))
		l.part = l.part[:0]
		return
	}
	for len(l.part)+len(piece) > l.Limit {
		n := l.Limit - len(l.part)
		l.part, piece = append(l.part, piece[:n]...), piece[n:]
		n = len(text.WholeRunes(l.part))
		l.Each(l.part[:n])
		l.part = l.part[:copy(l.part, l.part[n:])]
	}
	l.part = append(l.part, piece...)
}

func (l *Lines) end() {
	if l.dropped > 0 {
		l.TooLong(l.dropped)
	} else {
		l.Each(bytes.TrimSuffix(l.part, []byte{'\r'}))
	}
	l.part, l.dropped = l.part[:0], 0
}
