package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/taskerhq/tasker/internal/x/nodeset"
	"github.com/taskerhq/tasker/internal/x/text"
)

// printLine prints one object of --output jsonl, with its kind.
func (r *run) printLine(kind string, members map[string]any) error {
	object := maps.Clone(members)
	if object == nil {
		object = map[string]any{}
	}
	object["kind"] = kind
	line, err := encodeJSON(object)
	if err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	return r.printDocument(line)
}

// printDocument prints a JSON document as the API wrote it.
func (r *run) printDocument(document json.RawMessage) error {
	return r.write(append(text.VisibleJSON(document), '\n'))
}

// printNames prints names, one a line.
func (r *run) printNames(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return r.write([]byte(text.VisibleLines(strings.Join(names, "\n") + "\n")))
}

// printCSV prints a table as comma-separated values.
func (r *run) printCSV(header []string, rows [][]string) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(header) // a buffer takes everything
	for _, row := range rows {
		visible := make([]string, len(row))
		for i, cell := range row {
			visible[i] = text.Visible(cell)
		}
		_ = w.Write(visible)
	}
	w.Flush()
	return r.write(b.Bytes())
}

// printStyled prints lines that are visible already, and may be colored.
func (r *run) printStyled(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	return r.write([]byte(strings.Join(lines, "\n") + "\n"))
}

func (r *run) write(out []byte) error {
	if _, err := r.Stdout.Write(out); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// folded returns names in few words: web[01-20], and "..." where they are many.
func folded(names []string) string {
	const most = 200
	return text.Shorten(strings.Join(nodeset.Fold(names), ","), most)
}

// typed returns the lines that the user types. Stdin is read from the first call on,
// for as long as the process lives: a read cannot be given up.
func (r *run) typed() <-chan string {
	r.typing.Do(func() {
		lines := make(chan string)
		r.lines = lines
		go func() {
			defer close(lines)
			if r.Stdin != nil {
				readLines(r.Stdin, lines)
			}
		}()
	})
	return r.lines
}

// readLines sends lines until the end of the input, byte by byte: somebody else may
// want to read what follows.
func readLines(in io.Reader, lines chan<- string) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			lines <- string(line)
			line = line[:0]
		case n == 1 && len(line) < 1<<10:
			line = append(line, b[0])
		}
		if err != nil {
			return
		}
	}
}
