package cli

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
)

// completeRoot has the shell offer the values that the flags of all commands
// take, and no files where a command takes no argument.
func (r *run) completeRoot(root *cobra.Command) {
	complete(root, "mode", func() []string { return r.modes() })
	complete(root, "output", func() []string { return []string{outputText, outputJSON} })
	complete(root, "log-level", func() []string { return []string{"debug", "info", "warn", "error"} })
	_ = root.MarkPersistentFlagDirname("config") // the flag exists
	noFiles(root)
}

// noFiles keeps the shell from offering files as arguments of all commands:
// none takes one.
func noFiles(cmd *cobra.Command) {
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	for _, sub := range cmd.Commands() {
		noFiles(sub)
	}
}

// complete has the shell offer the values of a flag.
func complete(cmd *cobra.Command, flag string, values func() []string) {
	// The one error is that of a flag that does not exist, or has this already.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
}

// modes returns the modes that come with the program, and those that have a
// file in the directory of the configuration.
func (r *run) modes() []string {
	modes := []string{config.DefaultMode, "production"}
	dir := r.dir
	if dir == "" {
		dir = config.DefaultDir
	}
	const suffix = ".config.yaml"
	files, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)) // none where the directory's name is a pattern
	for _, file := range files {
		modes = append(modes, strings.TrimSuffix(filepath.Base(file), suffix))
	}
	slices.Sort(modes)
	return slices.Compact(modes)
}

// taskTypes returns the names of the configured task types, or none where the
// configuration has mistakes.
func (r *run) taskTypes() []string {
	cfg, err := r.load(config.PartAPI | config.PartDatabase | config.PartBroker | config.PartAdmin)
	if err != nil {
		return nil
	}
	return cfg.TaskTypeNames()
}
