package cli

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
)

// completeRoot lets the shell complete the values of the flags of all commands, and
// no files as arguments.
func (r *run) completeRoot(root *cobra.Command) {
	complete(root, "mode", func() []string { return r.modes() })
	_ = root.RegisterFlagCompletionFunc("output", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return outputs(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	complete(root, "color", func() []string { return []string{colorAuto, colorAlways, colorNever} })
	complete(root, "log-level", func() []string { return []string{"debug", "info", "warn", "error"} })
	_ = root.MarkPersistentFlagDirname("config") // the flag exists
	noFiles(root)
}

// noFiles keeps the shell from offering files as arguments: no command takes one.
func noFiles(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range cmd.Commands() {
		noFiles(sub)
	}
}

// complete lets the shell complete the values of a flag.
func complete(cmd *cobra.Command, flag string, values func() []string) {
	// It fails only for a flag that does not exist, or is registered already.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
}

// modes returns the built-in modes, and those that have a file in the directory of
// the configuration.
func (r *run) modes() []string {
	modes := []string{config.DefaultMode, "production"}
	dir := r.dir
	if dir == "" {
		dir = config.DefaultDir
	}
	const suffix = ".config.yaml"
	files, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)) // none if the directory's name is a pattern
	for _, file := range files {
		modes = append(modes, strings.TrimSuffix(filepath.Base(file), suffix))
	}
	slices.Sort(modes)
	return slices.Compact(modes)
}

// taskTypes returns the names of the configured task types, or none if the
// configuration is invalid.
func (r *run) taskTypes() []string {
	cfg, err := r.load(config.Everything)
	if err != nil {
		return nil
	}
	return cfg.TaskTypeNames()
}
