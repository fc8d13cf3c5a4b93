package cli

import (
	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// defaultData is the data directory of "tasker dev".
const defaultData = "data/dev"

// devData selects "tasker dev" for a command that otherwise uses the configured
// services.
type devData struct {
	dev  bool
	data string
}

func (d *devData) add(cmd *cobra.Command, usage string) {
	flags := cmd.PersistentFlags()
	flags.BoolVar(&d.dev, "dev", false, usage)
	flags.StringVar(&d.data, "data", defaultData, "data directory of \"tasker dev\"; needs --dev")
	_ = cmd.MarkPersistentFlagDirname("data") // the flag exists
}

func (d *devData) check(cmd *cobra.Command) error {
	if !d.dev && cmd.Flags().Changed("data") {
		return usagef("--data is the directory of \"tasker dev\": give --dev, too, or neither")
	}
	return nil
}

// load reads the configuration for a command that uses the services themselves.
func (d *devData) load(r *run, cmd *cobra.Command) (config.Config, error) {
	if err := d.check(cmd); err != nil {
		return config.Config{}, err
	}
	if !d.dev {
		return r.load(0)
	}
	cfg, err := r.load(devWithout)
	if err != nil {
		return cfg, err
	}
	return app.OfDev(cfg, d.data)
}
