package cli

import (
	"io"
	"os"
	"strings"
	"sync"

	"github.com/taskerhq/tasker/internal/liveview"
)

// The values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// colors reports whether what goes to w is colored: as --color says, or NO_COLOR,
// CLICOLOR_FORCE and TERM do, or if w is a terminal.
func (r *run) colors(w io.Writer) bool {
	switch {
	case r.color != colorAuto && r.color != "":
		return r.color == colorAlways
	case r.variable("NO_COLOR", "") != "":
		return false
	case r.variable("CLICOLOR_FORCE", "0") != "0":
		return true
	case r.variable("TERM", "") == "dumb":
		return false
	}
	return isTerminal(w)
}

// style returns how lines to w look.
func (r *run) style(w io.Writer) liveview.Style {
	return liveview.Style{Color: r.colors(w), ASCII: !r.unicode()}
}

// unicode reports whether the user's locale has more than ASCII. Without any locale
// it does.
func (r *run) unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(r.variable(name, "")); locale != "" {
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return true
}

// defaultColumns is the width of a terminal that does not tell it.
const defaultColumns = 80

// columns returns the width of the terminal w, or 0 if it is none.
func columns(w io.Writer) int {
	if p, paged := w.(*pager); paged {
		return p.columns
	}
	f, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return 0
	}
	if n := terminalColumns(f); n > 0 {
		return n
	}
	return defaultColumns
}

// screen writes lines to stderr and, if that is a terminal, a status line below
// them. Methods may be called at the same time.
type screen struct {
	w      io.Writer
	live   bool // a terminal that can replace a line
	mu     sync.Mutex
	status string
}

func (r *run) screen() *screen {
	return &screen{w: r.Stderr, live: isTerminal(r.Stderr) && r.variable("TERM", "") != "dumb"}
}

// clearLine moves to the beginning of the line, and clears it.
const clearLine = "\r\x1b[K"

// Lines writes lines above the status line.
func (s *screen) Lines(lines ...string) {
	if len(lines) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(lines, "\n") + "\n"
	if s.status != "" {
		out = clearLine + out + s.status
	}
	// An error is no reason to stop: the results go to stdout.
	_, _ = io.WriteString(s.w, out)
}

// Status replaces the status line; an empty one removes it. It does nothing without a
// terminal.
func (s *screen) Status(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live || line == s.status {
		return
	}
	s.status = line
	_, _ = io.WriteString(s.w, clearLine+line)
}
