package cli

import (
	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// defaultData is the data directory of "tasker dev".
const defaultData = "data/dev"

// devData chooses the data of "tasker dev" for a command that looks at the
// configured services otherwise.
type devData struct {
	dev  bool
	data string
}

func (d *devData) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.BoolVar(&d.dev, "dev", false, "look at the data of \"tasker dev\", in the directory of --data")
	flags.StringVar(&d.data, "data", defaultData, "data directory of \"tasker dev\"; needs --dev")
	_ = cmd.MarkPersistentFlagDirname("data") // the flag exists
}

// load reads the configuration for a command.
func (d *devData) load(r *run, cmd *cobra.Command, without config.Part) (config.Config, error) {
	if !d.dev {
		if cmd.Flags().Changed("data") {
			return config.Config{}, usagef("--data is the directory of \"tasker dev\": give --dev, too, or neither")
		}
		return r.load(without)
	}
	cfg, err := r.load(without | devWithout)
	if err != nil {
		return cfg, err
	}
	return app.OfDev(cfg, d.data)
}
