package work

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/taskerhq/tasker/test/promises"
)

// ReadJournals returns all journal entries in dir. It skips an unfinished line,
// which a killed process left before it was synced.
func ReadJournals(dir string) ([]promises.Entry, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var entries []promises.Entry
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for {
			line, rest, ended := bytes.Cut(data, []byte{'\n'})
			if !ended {
				break
			}
			data = rest
			var entry promises.Entry
			if err := json.Unmarshal(line, &entry); err != nil {
				return nil, fmt.Errorf("%s: %w: %.200s", name, err, line)
			}
			entries = append(entries, entry)
		}
	}
	return entries, nil
}

// CountRuns returns the number of runs started.
func CountRuns(dir string) int {
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	runs := 0
	for _, name := range files {
		if data, err := os.ReadFile(name); err == nil {
			runs += bytes.Count(data, []byte(`"event":"start"`))
		}
	}
	return runs
}
