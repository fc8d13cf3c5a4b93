package tasker_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuaranteesAreHeld: each test that docs/guarantees.md names, as
// package.Test, exists.
func TestGuaranteesAreHeld(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{} // the tests' code, by the package's directory
	err = filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		name := filepath.Base(filepath.Dir(path))
		if name == "." {
			name = "tasker"
		}
		tests[name] += string(code)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9]+)\\.(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(content), -1)
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !strings.Contains(tests[m[1]], "func "+m[2]+"(t *testing.T)") {
			t.Errorf("there is no test %s", m[0])
		}
	}
}
