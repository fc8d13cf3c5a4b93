package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/lmittmann/tint"

	"github.com/taskerhq/tasker/internal/x/text"
)

// newTextLog returns a log handler for people. Records contain text from anywhere:
// control characters are escaped.
func newTextLog(w io.Writer, level slog.Leveler, color bool) slog.Handler {
	return tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: time.StampMilli, NoColor: !color, ReplaceAttr: visibleAttr,
	})
}

// newJSONLog returns a log handler for programs, with durations such as "1.5s".
// Control characters are escaped here, too: a terminal may show the log.
func newJSONLog(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(text.JSON(w), &slog.HandlerOptions{Level: level, ReplaceAttr: readableDuration})
}

func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func visibleAttr(_ []string, a slog.Attr) slog.Attr {
	a.Key = visibleToTint(a.Key)
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(visibleToTint(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case slog.Level:
		case []byte:
			a.Value = slog.StringValue(visibleToTint(string(v)))
		default:
			a.Value = slog.StringValue(visibleToTint(fmt.Sprintf("%+v", v)))
		}
	}
	return a
}

// visibleToTint is [text.Visible] for tint, which unescapes the four characters
// \x1b so that values may have colors.
func visibleToTint(s string) string {
	return strings.ReplaceAll(text.Visible(s), `\x1b`, `\u001b`)
}
