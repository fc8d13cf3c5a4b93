package cli

import (
	"crypto/tls"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// apiFlags say how a command reaches the API.
type apiFlags struct {
	url, tokenFile    string
	ca, cert, certKey string // files
	dev               devData
}

func (r *run) addAPIFlags(cmd *cobra.Command) *apiFlags {
	f := &apiFlags{}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.url, "api", r.variable(config.EnvAPIURL, client.DefaultURL), "URL of the API ("+config.EnvAPIURL+")")
	tokenFile := config.EnvName("api.token_file")
	flags.StringVar(&f.tokenFile, "token-file", r.variable(tokenFile, ""), "file with the token of the API ("+tokenFile+")")
	flags.StringVar(&f.ca, "ca", r.variable(config.EnvAPICA, ""),
		"file with the authorities of the API's certificate, if the system does not know them ("+config.EnvAPICA+")")
	flags.StringVar(&f.cert, "cert", r.variable(config.EnvAPICert, ""),
		"file with your certificate, if the API requires one ("+config.EnvAPICert+")")
	flags.StringVar(&f.certKey, "key", r.variable(config.EnvAPICertKey, ""), "file with its private key ("+config.EnvAPICertKey+")")
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
	options, err := f.tls(cmd, url)
	if err != nil {
		return nil, err
	}
	c, err := client.New(url, token, options...)
	if err != nil {
		return nil, usagef("--api: %v", err)
	}
	return c, nil
}

// tls returns the options of a client of an https URL. A flag that has no effect is an
// error; a variable may be there for other commands.
func (f *apiFlags) tls(cmd *cobra.Command, url string) ([]client.Option, error) {
	if !strings.HasPrefix(strings.ToLower(url), "https://") {
		for _, name := range []string{"ca", "cert", "key"} {
			if cmd.Flags().Changed(name) {
				return nil, usagef("--%s is for an API with TLS: use https:// in --api, or leave it out", name)
			}
		}
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12} // of a proxy in front, too
	var err error
	if f.ca != "" {
		if conf.RootCAs, err = certfile.Pool(f.ca); err != nil {
			return nil, usagef("--ca: %v", err)
		}
	}
	if (f.cert == "") != (f.certKey == "") {
		return nil, usagef("--cert and --key belong together: give both, or neither")
	}
	if f.cert != "" {
		own, err := certfile.Load(f.cert, f.certKey)
		if err != nil {
			return nil, usagef("--cert: %v", err)
		}
		conf.Certificates = []tls.Certificate{*own}
	}
	return []client.Option{client.WithTLS(conf)}, nil
}
