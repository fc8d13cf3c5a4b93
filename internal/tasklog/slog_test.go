package tasklog_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/tasklog"
)

// lines collects the lines of a handler.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(_ time.Time, level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, tasklog.LevelName(level)+": "+text)
}

func TestHandlerText(t *testing.T) {
	t.Parallel()
	for want, log := range map[string]func(*slog.Logger){
		"info: done":                             func(l *slog.Logger) { l.Info("done") },
		"info: ":                                 func(l *slog.Logger) { l.Info("") },
		"warn: the disk is = full path=/var n=3": func(l *slog.Logger) { l.Warn("the disk is = full", "path", "/var", "n", 3) },
		`info: a msg=b time="c d" level=e`:       func(l *slog.Logger) { l.Info("a", "msg", "b", "time", "c d", "level", "e") },
		`error: failed err="no such file"`:       func(l *slog.Logger) { l.Error("failed", "err", errors.New("no such file")) },
		`info: out text="two\nlines" a=""`:       func(l *slog.Logger) { l.Info("out", "text", "two\nlines", "a", "") },
		`info: "two\nlines" n=1`:                 func(l *slog.Logger) { l.Info("two\nlines", "n", 1) },
		`info: "bad \xff byte"`:                  func(l *slog.Logger) { l.Info("bad \xff byte") },
		"info: naïve → ok\tyes":                  func(l *slog.Logger) { l.Info("naïve → ok\tyes") },
		"info: m a=1 g.b=2 g.h.c=3": func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b",
				2).WithGroup("h").Info("m", "c", 3)
		},
		"info: m g.b=2": func(l *slog.Logger) { l.Info("m", slog.Group("g", "b", 2)) },
		"info: m took=1.5s at=2026-01-02T03:04:05.000Z": func(l *slog.Logger) {
			l.Info("m", "took", 1500*time.Millisecond, "at", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		},
		"info: m !BADKEY=alone": func(l *slog.Logger) { l.Info("m", slog.Any("!BADKEY", "alone")) },
	} {
		var got lines
		log(slog.New(tasklog.NewHandler(nil, got.add)))
		if !slices.Equal(got.all, []string{want}) {
			t.Errorf("got  %q\nwant %q", got.all, want)
		}
	}
}

// TestHandlerLevel: what is below the level is dropped, and it may change.
func TestHandlerLevel(t *testing.T) {
	t.Parallel()
	var got lines
	var level slog.LevelVar
	log := slog.New(tasklog.NewHandler(&level, got.add))
	log.Debug("no")
	level.Set(slog.LevelDebug)
	log.With("a", 1).Debug("yes")
	log.Log(t.Context(), slog.LevelError+4, "worse")
	log.Log(t.Context(), slog.LevelInfo+2, "between")
	if want := []string{"debug: yes a=1", "error: worse", "info: between"}; !slices.Equal(got.all, want) {
		t.Errorf("got %q, want %q", got.all, want)
	}
}

func TestHandlerTime(t *testing.T) {
	t.Parallel()
	var at time.Time
	h := tasklog.NewHandler(nil, func(t time.Time, _ slog.Level, _ string) { at = t })
	want := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	if err := h.Handle(t.Context(), slog.NewRecord(want, slog.LevelInfo, "m", 0)); err != nil || !at.Equal(want) {
		t.Errorf("got %s, %v; want the record's time", at, err)
	}
	if err := h.Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, "m", 0)); err != nil || at.IsZero() {
		t.Errorf("got %s, %v; want the present time", at, err)
	}
}

// chatty is a value that logs when it is logged.
type chatty struct{ log *slog.Logger }

func (c chatty) String() string {
	c.log.Info("inner")
	return "chatty"
}

func (c chatty) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func TestHandlerOfValuesThatLog(t *testing.T) {
	t.Parallel()
	var got lines
	log := slog.New(tasklog.NewHandler(nil, got.add))
	log.Info("outer", "v", chatty{log})
	if want := []string{"info: inner", "info: outer v=chatty"}; !slices.Equal(got.all, want) {
		t.Errorf("got %q, want %q", got.all, want)
	}
}

// TestHandlerAtOnce: lines that come at once keep their own attributes.
func TestHandlerAtOnce(t *testing.T) {
	t.Parallel()
	var got lines
	log := slog.New(tasklog.NewHandler(nil, got.add))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			own := log.With("i", i)
			for j := range 200 {
				own.Info("m", "j", j)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, line := range got.all {
		seen[line] = true
	}
	for i := range 8 {
		for j := range 200 {
			if want := fmt.Sprintf("info: m i=%d j=%d", i, j); !seen[want] {
				t.Fatalf("there is no %q", want)
			}
		}
	}
	if len(got.all) != 1600 {
		t.Errorf("got %d lines", len(got.all))
	}
}

func BenchmarkHandler(b *testing.B) {
	log := slog.New(tasklog.NewHandler(nil, func(time.Time, slog.Level, string) {})).With("task_id", 7)
	b.ReportAllocs()
	for b.Loop() {
		log.Info("copied a file", "path", "/var/lib/x", "bytes", 4711)
	}
}
