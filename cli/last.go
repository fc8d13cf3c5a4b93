package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// keptTasks is how many tasks are remembered.
const keptTasks = 50

// lastFile returns the file with the tasks that the user has run, one a line, the
// newest last: the URL of the API, a tab and TYPE/IDENTIFIER. It is empty if there is
// no place for it.
func (r *run) lastFile() string {
	dir := r.variable("XDG_STATE_HOME", "")
	if home := r.variable("HOME", ""); dir == "" && home != "" {
		dir = filepath.Join(home, ".local", "state")
	}
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "tasker", "tasks")
}

// remember notes a task that was run, for "-" and for completion. It is a comfort:
// no error keeps a task from being run.
func (r *run) remember(api *apiFlags, name string) {
	file := r.lastFile()
	if file == "" {
		return
	}
	line := api.place() + "\t" + name
	lines := slices.DeleteFunc(readTasks(file), func(l string) bool { return l == line })
	lines = append(lines, line)
	lines = lines[max(len(lines)-keptTasks, 0):]
	if os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	// Two at once must not leave half a file.
	temporary, err := os.CreateTemp(filepath.Dir(file), ".tasks-")
	if err != nil {
		return
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.WriteString(strings.Join(lines, "\n") + "\n")
	if closed := temporary.Close(); err == nil && closed == nil {
		_ = os.Rename(temporary.Name(), file)
	}
}

func readTasks(file string) []string {
	content, err := os.ReadFile(file) //nolint:gosec // the user's own
	if err != nil {
		return nil
	}
	return strings.FieldsFunc(string(content), func(c rune) bool { return c == '\n' })
}

// remembered returns the tasks that were run with an API, the newest first.
func (r *run) remembered(api *apiFlags) (names []string) {
	for _, line := range slices.Backward(readTasks(r.lastFile())) {
		if place, name, ok := strings.Cut(line, "\t"); ok && place == api.place() {
			names = append(names, name)
		}
	}
	return names
}

// place returns what tells one API from another.
func (f *apiFlags) place() string {
	if f.dev.dev {
		if dir, err := filepath.Abs(f.dev.data); err == nil {
			return "dev:" + dir
		}
	}
	_ = f.choose() // an error is told where the API is asked
	return f.url
}

// taskOf returns the task that the only argument names: TYPE/IDENTIFIER, or "-" for
// the last one that was run.
func (r *run) taskOf(cmd *cobra.Command, api *apiFlags, args []string) (taskType, identifier string, err error) {
	if len(args) == 1 && args[0] == "-" {
		names := r.remembered(api)
		if len(names) == 0 {
			return "", "", usagef("unknown last task: none was run with the API at %s: name it as TYPE/IDENTIFIER", api.place())
		}
		args = names[:1]
	}
	return taskArgument(cmd, args)
}
