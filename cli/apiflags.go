package cli

import (
	"crypto/tls"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// apiFlags say how a command reaches the API.
type apiFlags struct {
	r                 *run
	given             *pflag.FlagSet
	context           string // its name
	url, tokenFile    string
	ca, cert, certKey string // files
	token             string // that of the context
	chosen            bool   // see choose
	dev               devData
}

func (r *run) addAPIFlags(cmd *cobra.Command) *apiFlags {
	flags := cmd.PersistentFlags()
	f := &apiFlags{r: r, given: flags}
	flags.StringVar(&f.url, "api", r.variable(config.EnvAPIURL, client.DefaultURL), "URL of the API ("+config.EnvAPIURL+")")
	flags.StringVar(&f.context, "context", "", "the API of this `context`, in place of the one in use: see tasker login")
	flags.StringVar(&f.tokenFile, "token-file", r.variable(envTokenFile, ""), "file with the token of the API ("+envTokenFile+")")
	flags.StringVar(&f.ca, "ca", r.variable(config.EnvAPICA, ""),
		"file with the authorities of the API's certificate, if the system does not know them ("+config.EnvAPICA+")")
	flags.StringVar(&f.cert, "cert", r.variable(config.EnvAPICert, ""),
		"file with your certificate, if the API requires one ("+config.EnvAPICert+")")
	flags.StringVar(&f.certKey, "key", r.variable(config.EnvAPICertKey, ""), "file with its private key ("+config.EnvAPICertKey+")")
	f.dev.add(cmd, "use the API of the \"tasker dev\" that runs in the directory of --data")
	_ = cmd.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return r.completeContexts(nil, nil, "")
	}) // the flag exists
	return f
}

// envTokenFile is the variable with the file of the token.
var envTokenFile = config.EnvName("api.token_file")

// otherAPI returns the variable that names an API or a token, which comes before the
// context in use; empty if none does.
func (r *run) otherAPI() string {
	for _, name := range []string{config.EnvAPIURL, envTokenFile} {
		if r.variable(name, "") != "" {
			return name
		}
	}
	return ""
}

// choose takes the URL and the token from a context, if one applies. A context is taken as a
// whole: what the environment has is for another API, which must not get this token, nor
// this API that one.
func (f *apiFlags) choose() error {
	named, byURL := f.given.Changed("context"), f.given.Changed("api")
	switch {
	case f.chosen:
		return nil
	case f.dev.dev && byURL:
		return usagef("--api and --dev exclude each other")
	case named && (byURL || f.dev.dev):
		return usagef("--context names an API, as --api and --dev do: give one of them")
	case byURL || f.dev.dev || !named && f.r.otherAPI() != "":
		f.chosen = true
		return nil
	}
	all, name := f.r.contexts(), f.context
	if !named {
		var err error
		if name, err = all.current(); err != nil {
			return err
		}
		if name == "" {
			f.chosen = true
			return nil
		}
	}
	ctx, err := all.get(name)
	if err != nil {
		return err
	}
	f.url, f.token = ctx.URL, ctx.Token
	for flag, file := range map[string]struct{ to, of *string }{
		"token-file": {&f.tokenFile, new("")}, "ca": {&f.ca, &ctx.CA}, "cert": {&f.cert, &ctx.Cert}, "key": {&f.certKey, &ctx.Key},
	} {
		if !f.given.Changed(flag) {
			*file.to = *file.of
		}
	}
	f.chosen = true
	return nil
}

// maxToken bounds a token file.
const maxToken = 64 << 10

// client returns a client of the API that the flags, the environment or a context name.
func (f *apiFlags) client(cmd *cobra.Command) (*client.Client, error) {
	if err := f.dev.check(cmd); err != nil {
		return nil, err
	}
	if err := f.choose(); err != nil {
		return nil, err
	}
	url, token := f.url, f.token
	if f.dev.dev {
		var err error
		if url, err = app.DevURL(f.dev.data); err != nil {
			return nil, err
		}
	}
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
	return f.connect(url, token)
}

// client returns a client of the API of a context.
func (c apiContext) client() (*client.Client, error) {
	f := &apiFlags{given: pflag.NewFlagSet("", pflag.ContinueOnError), ca: c.CA, cert: c.Cert, certKey: c.Key}
	return f.connect(c.URL, c.Token)
}

func (f *apiFlags) connect(url, token string) (*client.Client, error) {
	options, err := f.tls(url)
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
func (f *apiFlags) tls(url string) ([]client.Option, error) {
	if !strings.HasPrefix(strings.ToLower(url), "https://") {
		for _, name := range []string{"ca", "cert", "key"} {
			if f.given.Changed(name) {
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
