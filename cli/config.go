package cli

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
)

func (r *run) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the configuration",
		Long: `Check or show the configuration: the file <mode>.config.yaml in the directory
of --config, overridden by TASKER_ environment variables. Without --config and
without a file, development mode uses a built-in one.`,
		Example: "  tasker config check --mode production --config /etc/tasker\n  tasker config show",
		Args:    r.noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	cmd.AddCommand(r.configCheckCommand(), r.configShowCommand(), r.configExampleCommand())
	return cmd
}

// checked is what "config check" tells.
type checked struct {
	OK        bool     `json:"ok"`
	Mode      string   `json:"mode"`
	File      string   `json:"file"`
	TaskTypes []string `json:"task_types,omitempty"`
	Problems  []string `json:"problems,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

func (r *run) configCheckCommand() *cobra.Command {
	var programs, api, dev bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find all mistakes in the configuration",
		Long: `Read the configuration with all its secret files, as this user, and tell all
mistakes at once: unknown keys and variables, bad values, schemas that are none,
secrets that cannot be read. It connects to nothing. Then ask the handlers of
all task types whether they could work on this machine: whether their programs
are there and may be run, and their directories and users exist. A machine that
runs the API only needs none of that: give --programs=false there. One that runs
managers only has no token of the API's: give --api=false there, and where this
user is that of the managers, who may not read it.

Notes are no mistakes: where a program runs with the manager's own rights, for
example, and so can read its secrets.

"tasker dev" needs no database, no RabbitMQ and no secrets of theirs: give --dev
for a configuration that is for it.

A warning is about what works and should not stay so: others could read a
password, or run tasks.

The exit code is 0 without mistakes, warnings or not, else 2.`,
		Example: `  tasker config check --mode production --config /etc/tasker
  tasker config check --dev --config examples/handlers/config
  tasker config check --api=false --mode production --config /etc/tasker
  tasker config check --programs=false --output json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			answer := checked{Mode: r.mode}
			var without config.Part
			if dev {
				without = devWithout
			}
			if !api {
				without |= config.PartAPI
			}
			cfg, err := r.load(without)
			if err == nil {
				answer.File, answer.TaskTypes = cfg.File, cfg.TaskTypeNames()
				if programs {
					err = cfg.CheckHandlers()
				}
			}
			wrong, found := errors.AsType[*config.Error](err)
			if found && r.output == outputJSON {
				answer.Problems = wrong.Problems
				if paths := wrong.Files.Paths(); answer.File == "" && len(paths) > 0 {
					answer.File = paths[0]
				}
				return errors.Join(r.tell(answer, ""), errMistakes)
			}
			if err != nil {
				return err
			}
			answer.OK, answer.Warnings = true, cfg.Warnings()
			if !dev { // which has no secrets
				answer.Notes = cfg.HandlerNotes()
			}
			lines := []string{fmt.Sprintf("%s: no mistakes (mode %s, %d task types)", cfg.File, cfg.Mode, len(cfg.TaskTypes))}
			for _, warning := range answer.Warnings {
				lines = append(lines, "warning: "+warning)
			}
			for _, note := range answer.Notes {
				lines = append(lines, "note: "+note)
			}
			return r.tell(answer, strings.Join(lines, "\n")+"\n")
		},
	}
	cmd.Flags().BoolVar(&dev, "dev", false, "check what \"tasker dev\" needs, and nothing else")
	cmd.Flags().BoolVar(&api, "api", true, "also read the API's token")
	cmd.Flags().BoolVar(&programs, "programs", true, "also ask whether the handlers could work on this machine")
	return cmd
}

func (r *run) configShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the configuration that is in force",
		Long: `Print every key with the value that is in force, as YAML, or as JSON with
--output json. A comment says where a value that is no default was set. Secrets
are masked, and their files are not read.`,
		Example: "  tasker config show\n  tasker config show --output json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := r.load(config.PartAPI | config.PartDatabase | config.PartBroker | config.PartAdmin)
			if err != nil {
				return err
			}
			text, err := cfg.YAML()
			if err != nil {
				return err
			}
			return r.tell(cfg, string(text))
		},
	}
}

func (r *run) configExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print the configuration file that comes with tasker",
		Long: `Print the documented configuration file that comes with tasker for a mode, to
begin one's own with.`,
		Example: "  tasker config example --mode production > /etc/tasker/production.config.yaml",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			content, err := config.Shipped(r.mode)
			if err != nil {
				return err
			}
			_, err = r.Stdout.Write(content)
			return err
		},
	}
}

func (r *run) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print tasker's version, that of Go, and the platform.",
		Example: "  tasker version\n  tasker version --output json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			answer := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{r.Version, runtime.Version(), platform}
			return r.tell(answer, fmt.Sprintf("%s %s (%s, %s)\n", r.Name, r.Version, runtime.Version(), platform))
		},
	}
}
