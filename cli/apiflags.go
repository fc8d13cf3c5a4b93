package cli

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// apiFlags say how a command reaches the API.
type apiFlags struct {
	url, tokenFile string
	dev            devData
}

func (r *run) addAPIFlags(cmd *cobra.Command) *apiFlags {
	f := &apiFlags{}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.url, "api", r.variable(config.EnvAPIURL, client.DefaultURL), "URL of the API ("+config.EnvAPIURL+")")
	tokenFile := config.EnvName("api.token_file")
	flags.StringVar(&f.tokenFile, "token-file", r.variable(tokenFile, ""), "file with the token of the API ("+tokenFile+")")
	f.dev.add(cmd, "use the API of the \"tasker dev\" that runs in the directory of --data")
	return f
}

// maxToken bounds a token file.
const maxToken = 64 << 10

// client returns a client of the API that the flags name.
func (f *apiFlags) client(cmd *cobra.Command) (*client.Client, error) {
	if err := f.dev.check(cmd); err != nil {
		return nil, err
	}
	url := f.url
	if f.dev.dev {
		if cmd.Flags().Changed("api") {
			return nil, usagef("--api and --dev exclude each other")
		}
		var err error
		if url, err = app.DevURL(f.dev.data); err != nil {
			return nil, err
		}
	}
	token := ""
	if f.tokenFile != "" {
		file, err := os.Open(f.tokenFile)
		if err != nil {
			return nil, usagef("--token-file: %v", err)
		}
		defer func() { _ = file.Close() }()
		content, err := io.ReadAll(io.LimitReader(file, maxToken))
		if err != nil {
			return nil, usagef("--token-file: %v", err)
		}
		if token = strings.TrimSpace(string(content)); token == "" {
			return nil, usagef("--token-file: %s is empty", f.tokenFile)
		}
	}
	c, err := client.New(url, token)
	if err != nil {
		return nil, usagef("--api: %v", err)
	}
	return c, nil
}
