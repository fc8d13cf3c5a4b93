package tasker_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedLinks lead somewhere.
func TestDocumentedLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob("docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	for _, page := range append(append(pages, records...), "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestDocumentedAnswers are JSON, and answer the example.
func TestDocumentedAnswers(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	request, err := os.ReadFile("examples/testdata.json")
	if err != nil {
		t.Fatal(err)
	}
	var asked struct{ Identifier string }
	if err := json.Unmarshal(request, &asked); err != nil {
		t.Fatal(err)
	}
	answers := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(content), -1)
	if len(answers) != 1 {
		t.Fatalf("%d answers, want 1", len(answers))
	}
	for _, m := range answers {
		if !json.Valid([]byte(m[1])) || !strings.Contains(m[1], `"identifier":"`+asked.Identifier+`"`) {
			t.Errorf("not an answer to the example: %s", m[1])
		}
	}
}
