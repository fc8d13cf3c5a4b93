package cli

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var updateManual = flag.Bool("update-manual", false, "write the manual pages")

// TestManual compares the manual pages of the Debian package with the commands. Run it
// with -update-manual to write them.
func TestManual(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "packaging", "man")
	root := rootCommand(&run{Program: Program{Name: defaultName, Version: "test"}})
	pages := map[string][]byte{}
	for _, cmd := range append([]*cobra.Command{root}, commandsOf(root)...) {
		cmd.DisableAutoGenTag = true
		var page bytes.Buffer
		header := doc.GenManHeader{
			Section: "1", Source: "tasker", Manual: "tasker", Date: new(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		}
		if err := doc.GenMan(cmd, &header, &page); err != nil {
			t.Fatal(err)
		}
		pages[strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"] = page.Bytes()
	}
	if *updateManual {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	var there []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		there = append(there, entry.Name())
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil || !bytes.Equal(content, pages[entry.Name()]) {
			t.Errorf("%s is not that of the command: run go test ./cli -run Manual -update-manual (%v)", entry.Name(), err)
		}
	}
	if want := slices.Sorted(maps.Keys(pages)); !slices.Equal(there, want) {
		t.Errorf("there are %q, want %q", there, want)
	}
}

// commandsOf returns the visible commands below a command.
func commandsOf(cmd *cobra.Command) (list []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			list = append(append(list, sub), commandsOf(sub)...)
		}
	}
	return list
}
