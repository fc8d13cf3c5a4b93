package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// defaultContext is the name of the context of those who need one alone.
const defaultContext = "default"

func loginCommand(r *run) *cobra.Command {
	var given apiContext
	cmd := &cobra.Command{
		Use:   "login [CONTEXT] --api URL",
		Short: "Store the URL and the token of an API under a name",
		Long: `Store where an API is and the token for it as a context, and use it from then on: the
commands need no --api and no --token-file any more. Without a name it is "default".

The token is typed, and not shown, or read from stdin; it is never an argument. An API
that asks for none takes an empty one. The API is asked before anything is stored.
Again with the same name, without --api, it replaces the token.

A context is a file that you alone can read, in ~/.config/tasker/contexts (or under
XDG_CONFIG_HOME). It is used as a whole, and never mixed with others. The first of these
decides:

  1. --api, with --token-file, --ca, --cert and --key or their variables; or --dev
  2. --context
  3. TASKER_API_URL or TASKER_API_TOKEN_FILE, with the other variables
  4. the context in use
  5. http://localhost:8888, without a token

With 2 and 4 the flags --token-file, --ca, --cert and --key replace what the context has.`,
		Example: `  tasker login --api https://tasker.example.com:8888
  tasker login staging --api https://staging.example.com:8888 --ca ~/ca.pem
  pass tasker/prod | tasker login prod --api https://tasker.example.com:8888
  tasker context use staging`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("unexpected argument %q: %s takes the name of one context", args[1], cmd.CommandPath())
			}
			name := defaultContext
			if len(args) == 1 {
				name = args[0]
			}
			return r.login(cmd.Context(), name, given)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&given.URL, "api", "", "`URL` of the API")
	flags.StringVar(&given.CA, "ca", "", "`file` with the authorities of the API's certificate, if the system does not know them")
	flags.StringVar(&given.Cert, "cert", "", "`file` with your certificate, if the API requires one")
	flags.StringVar(&given.Key, "key", "", "`file` with its private key")
	cmd.ValidArgsFunction = r.completeContexts
	return cmd
}

// login stores a context that the API accepts, and uses it.
func (r *run) login(ctx context.Context, name string, given apiContext) error {
	if err := validContext(name); err != nil {
		return err
	}
	all := r.contexts()
	stored, found, err := all.read(name)
	if err != nil && given.URL == "" {
		return err // it cannot be read, but it can be replaced
	}
	if !found && given.URL == "" {
		return usagef("missing --api: give the URL of the API for the new context %s", name)
	}
	if given.URL != "" {
		stored = apiContext{URL: given.URL}
	}
	for _, file := range []struct{ given, stored *string }{
		{&given.CA, &stored.CA}, {&given.Cert, &stored.Cert}, {&given.Key, &stored.Key},
	} {
		if *file.given == "" {
			continue
		}
		if *file.stored, err = filepath.Abs(*file.given); err != nil {
			return fmt.Errorf("find %s: %w", *file.given, err)
		}
	}
	if stored.Token, err = r.readToken(ctx, stored.URL); err != nil {
		return err
	}
	c, err := stored.client()
	if err != nil {
		return err
	}
	if _, err := c.TaskTypes(ctx); err != nil {
		return err
	}
	if err := all.store(name, stored); err != nil {
		return err
	}
	if err := all.use(name); err != nil {
		return err
	}
	answer := contextRow{Name: name, URL: stored.URL, Token: stored.Token != "", InUse: true}
	return r.print(answer, fmt.Sprintf("context %s: %s is used from now on\n", name, stored.URL))
}

// readToken returns the token that the user types, which is not shown, or that stdin has.
// It is empty if there is none.
func (r *run) readToken(ctx context.Context, url string) (token string, err error) {
	if f, ok := r.Stdin.(*os.File); ok && isTerminal(f) {
		restore, err := hideInput(f)
		if err != nil {
			return "", usagef("the terminal would show the token (%v): pipe it to stdin", err)
		}
		defer restore()
		_, _ = fmt.Fprintf(r.Stderr, "Token of %s, which is not shown; empty if it asks for none: ", oneLine(url))
		defer func() { _, _ = fmt.Fprintln(r.Stderr) }()
		select {
		case token = <-r.typed():
		case <-ctx.Done():
			return "", fmt.Errorf("nothing is stored: %w", context.Cause(ctx))
		}
	} else if r.Stdin != nil {
		content, err := io.ReadAll(io.LimitReader(r.Stdin, maxToken))
		if err != nil {
			return "", fmt.Errorf("read the token from stdin: %w", err)
		}
		token = string(content)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usagef("invalid token: it has blanks or characters that no token has; nothing is stored")
	}
	return token, nil
}

// contextRow is a context as it is shown, without its token.
type contextRow struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Token bool   `json:"token"` // it has one
	InUse bool   `json:"in_use"`
}

func contextCommand(r *run) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "List the contexts, choose or delete one",
		Long: `A context is an API with a name, which "tasker login" stores. One is in use; --context
names another one for a single command. "tasker login --help" says what comes before it.`,
		Example: `  tasker context list
  tasker context use staging
  tasker list --context prod`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	cmd.AddCommand(
		withOutputs(&cobra.Command{
			Use: "list", Short: "List the contexts",
			Long:    `List the contexts; * marks the one in use. Tokens are not shown.`,
			Example: `  tasker context list`,
			Args:    noArguments,
			RunE:    func(*cobra.Command, []string) error { return r.listContexts() },
		}, outputText, outputJSON, outputNames),
		r.contextVerb("use", "Use a context from now on", `Use a context from now on, wherever nothing else names an API.`,
			func(all contexts, name string) (string, error) { return "uses " + name, all.use(name) }),
		r.contextVerb("delete", "Delete a context", `Delete a context with its token. If it is in use, none is then.`,
			func(all contexts, name string) (string, error) { return "deleted " + name, all.remove(name) }),
	)
	return cmd
}

// contextVerb returns a command that does something to a context.
func (r *run) contextVerb(verb, short, long string, do func(all contexts, name string) (done string, err error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " CONTEXT", Short: short, Long: long, Example: "  tasker context " + verb + " staging",
		ValidArgsFunction: r.completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("missing or extra argument: %s takes the name of one context", cmd.CommandPath())
			}
			all := r.contexts()
			ctx, err := all.get(args[0])
			if err != nil {
				return err
			}
			done, err := do(all, args[0])
			if err != nil {
				return err
			}
			current, err := all.current()
			if err != nil {
				return err
			}
			if other := r.otherAPI(); other != "" && verb == "use" {
				r.screen().Lines("but " + other + " is set, and comes first: see tasker login --help")
			}
			return r.print(contextRow{args[0], ctx.URL, ctx.Token != "", current == args[0]}, done+"\n")
		},
	}
}

func (r *run) listContexts() error {
	all := r.contexts()
	names, err := all.names()
	if err != nil {
		return err
	}
	if r.output == outputNames {
		return r.printNames(names)
	}
	current, err := all.current()
	if err != nil {
		return err
	}
	rows := []contextRow{}
	var cells [][]string
	for _, name := range names {
		ctx, err := all.get(name)
		if err != nil {
			return err
		}
		row := contextRow{name, ctx.URL, ctx.Token != "", name == current}
		rows = append(rows, row)
		mark, token := " ", "no"
		if row.InUse {
			mark = "*"
		}
		if row.Token {
			token = "yes"
		}
		cells = append(cells, []string{mark + " " + name, ctx.URL, token})
	}
	if r.output == outputJSON {
		return r.print(map[string]any{"contexts": rows}, "")
	}
	if len(rows) == 0 {
		return r.print(nil, "no contexts\n")
	}
	return r.printTable([]string{"  CONTEXT", "URL", "TOKEN"}, cells)
}

// completeContexts completes the name of a context.
func (r *run) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := r.contexts().names() // completion is silent
	return names, cobra.ShellCompDirectiveNoFileComp
}
