package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md")

// TestReference: docs/cli.md is what the commands say about themselves.
func TestReference(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "docs", "cli.md")
	got := reference(rootCommand(&run{Program: Program{Name: defaultName}}))
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Error("docs/cli.md is out of date: go test ./cli -run TestReference -update")
	}
}

const referenceIntro = `# The command line

The commands of ` + "`tasker`" + `, as ` + "`tasker COMMAND --help`" + ` prints them. This page is made from the commands:
` + "`go test ./cli -run TestReference -update`" + ` writes it.

`

// reference returns the page about all commands, in the order of their names.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(referenceIntro)
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" {
			return
		}
		describe(&b, cmd)
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(root)
	return b.String()
}

func describe(b *strings.Builder, cmd *cobra.Command) {
	block := func(text string) {
		if text = strings.TrimRight(text, " \n"); text != "" {
			b.WriteString("```\n" + text + "\n```\n\n")
		}
	}
	level := "## "
	if cmd.HasParent() && cmd.Parent().HasParent() {
		level = "### "
	}
	b.WriteString(level + cmd.CommandPath() + "\n\n")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	// As it is in the terminal: indented parts and columns stay.
	block(long)
	if cmd.Runnable() && cmd.HasParent() && !cmd.HasSubCommands() {
		block(cmd.UseLine())
	}
	block(cmd.Example)
	block(cmd.LocalFlags().FlagUsages())
}
