package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// addPager adds the flag of a command whose output may be longer than the screen.
func (r *run) addPager(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.noPager, "no-pager", false, "do not show what is longer than the screen with PAGER (less)")
}

// paged runs a command. What it prints to a terminal goes to the user's pager from where it
// is longer than the screen.
func (r *run) paged(run func() error) error {
	terminal, ok := r.Stdout.(*os.File)
	command := strings.TrimSpace(r.variable("PAGER", "less"))
	if !ok || r.noPager || !isTerminal(terminal) || r.variable("TERM", "") == "dumb" || command == "" || command == "cat" {
		return run()
	}
	p := &pager{r: r, terminal: terminal, command: command, rows: terminalRows(terminal), columns: columns(terminal)}
	r.Stdout = p
	err := run()
	r.Stdout = terminal
	closed := p.close()
	switch {
	case errors.Is(err, errPagerLeft):
		return nil // whoever leaves it has seen enough
	case err == nil:
		return closed
	}
	return err
}

// errPagerLeft is the error of what is written after the user has left the pager.
var errPagerLeft = errors.New("the pager was left")

// pager is a terminal that shows what is longer than its screen with a program.
type pager struct {
	r             *run
	terminal      *os.File
	command       string // for a shell
	rows, columns int
	kept          bytes.Buffer // until it is longer than the screen
	program       *exec.Cmd    // nil until then
	out           io.WriteCloser
	direct        bool // there is no program
}

// Write implements [io.Writer].
func (p *pager) Write(b []byte) (int, error) {
	switch {
	case p.direct:
		return p.terminal.Write(b)
	case p.out != nil:
		n, err := p.out.Write(b)
		if err != nil {
			return n, errPagerLeft
		}
		return n, nil
	}
	p.kept.Write(b)
	if p.height() < p.rows {
		return len(b), nil
	}
	if err := p.start(); err != nil {
		p.direct = true
		_, err := p.terminal.Write(p.kept.Bytes())
		return len(b), err
	}
	if _, err := p.out.Write(p.kept.Bytes()); err != nil {
		return 0, errPagerLeft
	}
	return len(b), nil
}

// height returns how many rows of the screen what was kept takes, about.
func (p *pager) height() (rows int) {
	for line := range bytes.SplitSeq(bytes.TrimSuffix(p.kept.Bytes(), []byte("\n")), []byte("\n")) {
		rows += 1 + max(0, len(line)-1)/max(1, p.columns)
	}
	return rows
}

// start starts the program.
func (p *pager) start() error {
	if _, err := exec.LookPath(strings.Fields(p.command)[0]); err != nil {
		return err
	}
	p.program = exec.Command("sh", "-c", p.command) //nolint:gosec // the user's own; it lives until it is left
	p.program.Stdout, p.program.Stderr = p.terminal, p.r.Stderr
	p.program.Env = slices.Clone(p.r.Environ)
	if p.r.variable("LESS", "") == "" {
		p.program.Env = append(p.program.Env, "LESS=FRX")
	}
	out, err := p.program.StdinPipe()
	if err == nil {
		err = p.program.Start()
	}
	if err == nil {
		p.out = out
	}
	return err
}

// close shows what was kept, or waits until the user leaves the pager.
func (p *pager) close() error {
	if p.out == nil {
		if p.direct {
			return nil
		}
		if _, err := p.terminal.Write(p.kept.Bytes()); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		return nil
	}
	_ = p.out.Close() // an error means that it has ended
	_ = p.program.Wait()
	return nil
}
