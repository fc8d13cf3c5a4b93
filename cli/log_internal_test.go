package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// FuzzColorLog compares the escapes in a log with colors with those of a
// harmless record: what is logged adds none.
func FuzzColorLog(f *testing.F) {
	logged := func(s string) string {
		var out bytes.Buffer
		log := slog.New(newTextLog(&out, slog.LevelDebug, true))
		log.With(slog.String("with", s)).Warn(s, s, "x", "err", errors.New(s), "bytes", []byte(s), slog.Group("g", "in", s)) //nolint:sloglint // the message is what is tested
		return out.String()
	}
	want := strings.Count(logged("harmless"), "\x1b")
	f.Add("\x1b]0;PWNED\x07\x1b[2J")
	f.Add(`\x1b[2J of four characters`)
	f.Add(`\\x1b[2J`)
	f.Add(`\\\x1b[2J "quoted"`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := logged(s); strings.Count(got, "\x1b") != want || strings.Contains(got, "\u009b") {
			t.Errorf("%q", got)
		}
	})
}
