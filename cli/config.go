package cli

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
)

func configCommand(r *run) *cobra.Command {
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
	cmd.AddCommand(configCheckCommand(r), configShowCommand(r), configExampleCommand(r))
	return cmd
}

// checked is the output of "config check".
type checked struct {
	OK        bool     `json:"ok"`
	Mode      string   `json:"mode"`
	File      string   `json:"file"`
	TaskTypes []string `json:"task_types,omitempty"`
	Problems  []string `json:"problems,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

const configCheckLong = `Read the configuration and all its secret files, as this user, and print all
mistakes at once: unknown keys and variables, bad values, invalid schemas,
unreadable secrets. It connects to nothing. Then check whether the handlers of
all task types can work on this machine: that their programs exist and are
executable, and that their directories and users exist. On a machine that only
runs the API, use --programs=false. On one that only runs managers, which has no
token of the API, or as the managers' user, who may not read it, use --api=false;
a machine whose manager.mode is gateway, without a database, is one.

"tasker dev" needs neither database nor RabbitMQ: use --dev to check its
configuration.

A warning is about something that works but is unsafe: others could read a
password, or run tasks. A note is for information: for example, that a program
runs as the manager's user, and so can read its secrets.

The exit code is 0 without mistakes, even with warnings, and 2 otherwise.`

func configCheckCommand(r *run) *cobra.Command {
	var programs, api, dev bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find all mistakes in the configuration",
		Long:  configCheckLong,
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
				without |= config.PartAPI | config.PartGateway
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
				return errors.Join(r.print(answer, ""), errMistakes)
			}
			if err != nil {
				return err
			}
			answer.OK, answer.Warnings = true, cfg.Warnings()
			if cfg.ManagersOnly && cfg.ManagerMode == config.ModeGateway {
				answer.Notes = append(answer.Notes, "checked for managers in gateway mode, which need no manager.db; an API needs more")
			}
			if !dev { // which has no secrets
				answer.Notes = append(answer.Notes, cfg.HandlerNotes()...)
			}
			lines := []string{fmt.Sprintf("%s: no mistakes (mode %s, %d task types)", cfg.File, cfg.Mode, len(cfg.TaskTypes))}
			for _, warning := range answer.Warnings {
				lines = append(lines, "warning: "+warning)
			}
			for _, note := range answer.Notes {
				lines = append(lines, "note: "+note)
			}
			return r.print(answer, strings.Join(lines, "\n")+"\n")
		},
	}
	cmd.Flags().BoolVar(&dev, "dev", false, "check only what \"tasker dev\" needs")
	cmd.Flags().BoolVar(&api, "api", true, "also check what an API and a gateway need")
	cmd.Flags().BoolVar(&programs, "programs", true, "also check whether the handlers can work on this machine")
	return cmd
}

func configShowCommand(r *run) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the effective configuration",
		Long: `Print every key with its effective value, as YAML, or as JSON with --output
json. Comments say where values that differ from the defaults were set. Secrets
are masked, and their files are not read.`,
		Example: "  tasker config show\n  tasker config show --output json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := r.load(config.Everything)
			if err != nil {
				return err
			}
			text, err := cfg.YAML()
			if err != nil {
				return err
			}
			return r.print(cfg, string(text))
		},
	}
}

func configExampleCommand(r *run) *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print the configuration file that comes with tasker",
		Long: `Print the documented configuration file that comes with tasker for a mode, as a
start for your own.`,
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

func versionCommand(r *run) *cobra.Command {
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
			return r.print(answer, fmt.Sprintf("%s %s (%s, %s)\n", r.Name, r.Version, runtime.Version(), platform))
		},
	}
}
