package client_test

import (
	"os"
	"strings"
	"testing"
)

// The Go code of docs/client.md is code of tests, which run it.
func TestDocs(t *testing.T) {
	var code string
	for _, file := range []string{"example_test.go", "clienttest/clienttest_test.go"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code += unindented(string(content))
	}
	page, err := os.ReadFile("../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) < 3 {
		t.Errorf("%d blocks of Go code, want 3", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(code, unindented(block)) {
			t.Errorf("no test has this code:\n%s", block)
		}
	}
}

// unindented returns the lines of a text without the white space before them.
func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}
