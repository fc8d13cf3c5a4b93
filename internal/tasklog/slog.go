package tasklog

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// NewHandler returns a handler for records of level (nil means info) and above.
// It passes each record to line as one line of text: the message, then the
// attributes as [slog.TextHandler] writes them. The text is valid UTF-8 without a
// newline; a message with unprintable characters is quoted. line may be called
// from several goroutines at once.
func NewHandler(level slog.Leveler, line func(t time.Time, level slog.Level, text string)) slog.Handler {
	attrs := &attributes{texts: map[string]string{}}
	return lineHandler{attrs, slog.NewTextHandler(attrs, &slog.HandlerOptions{Level: level}), line}
}

// LevelName returns the level of a log line: debug, info, warn or error. A level
// between two of them is rounded down.
func LevelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return "error"
}

// lineHandler formats attributes with slog's text handler.
type lineHandler struct {
	attrs *attributes
	text  slog.Handler // writes to attrs
	line  func(t time.Time, level slog.Level, text string)
}

func (h lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.text.Enabled(ctx, level)
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.text = h.text.WithAttrs(attrs)
	return h
}

func (h lineHandler) WithGroup(name string) slog.Handler {
	h.text = h.text.WithGroup(name)
	return h
}

// Handle never waits for another call to Handle: the text handler calls methods of
// the attributes, which may log as well.
func (h lineHandler) Handle(ctx context.Context, r slog.Record) error {
	at, level, message := r.Time, r.Level, r.Message
	if at.IsZero() {
		at = time.Now()
	}
	key := strconv.FormatUint(h.attrs.last.Add(1), 10)
	r.Time, r.Level, r.Message = time.Time{}, slog.LevelInfo, key
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	text := printable(message)
	if attrs := h.attrs.take(key); attrs != "" {
		text += " " + attrs
	}
	h.line(at, level, text)
	return nil
}

// attributes collects what the text handler writes. Each write is one record,
// whose message is a key chosen by [lineHandler.Handle].
type attributes struct {
	last  atomic.Uint64
	mu    sync.Mutex
	texts map[string]string
}

// keyPrefix is the beginning of a text record without a time.
const keyPrefix = "level=INFO msg="

func (a *attributes) Write(record []byte) (int, error) {
	key, attrs, _ := bytes.Cut(bytes.TrimSuffix(record[len(keyPrefix):], []byte("\n")), []byte(" "))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.texts[string(key)] = string(attrs)
	return len(record), nil
}

func (a *attributes) take(key string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	attrs := a.texts[key]
	delete(a.texts, key)
	return attrs
}

func printable(s string) string {
	for i, r := range s {
		if !unicode.IsPrint(r) && r != '\t' {
			return strconv.Quote(s)
		}
		if r == utf8.RuneError {
			if _, width := utf8.DecodeRuneInString(s[i:]); width == 1 {
				return strconv.Quote(s)
			}
		}
	}
	return s
}
