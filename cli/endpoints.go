package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
)

// apiFlags say how a command reaches the API.
type apiFlags struct{ url, tokenFile string }

func (r *run) addAPIFlags(cmd *cobra.Command) *apiFlags {
	f := &apiFlags{}
	cmd.PersistentFlags().StringVar(&f.url, "api", r.variable(config.EnvAPIURL, client.DefaultURL), "URL of the API ("+config.EnvAPIURL+")")
	tokenFile := config.EnvName("api.token_file")
	cmd.PersistentFlags().StringVar(&f.tokenFile, "token-file", r.variable(tokenFile, ""), "file with the token of the API ("+tokenFile+")")
	return f
}

// maxToken bounds a token file.
const maxToken = 64 << 10

// client returns a client of the API that the flags name.
func (f *apiFlags) client() (*client.Client, error) {
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
	c, err := client.New(f.url, token)
	if err != nil {
		return nil, usagef("--api: %v", err)
	}
	return c, nil
}

func (r *run) endpointsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "endpoints",
		Short: "List the registered endpoints, or remove some",
		Long: `An endpoint registers when its manager starts for the first time, and stays
registered: tasks for all are for it, too, and its queues collect them while it
is away. These commands talk to the API, at --api, with the token of
--token-file.`,
		Example: `  tasker endpoints list
  tasker endpoints remove console7
  tasker endpoints remove console7 --api https://tasker.example.com --token-file ~/.tasker-token`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	flags := r.addAPIFlags(cmd)
	cmd.AddCommand(r.listEndpointsCommand(flags), r.removeEndpointsCommand(flags))
	return cmd
}

func (r *run) listEndpointsCommand(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the registered endpoints",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			endpoints, err := c.Endpoints(cmd.Context())
			if err != nil {
				return err
			}
			if endpoints == nil {
				endpoints = []tasker.Endpoint{}
			}
			return r.tell(struct {
				Endpoints []tasker.Endpoint `json:"endpoints"`
			}{endpoints}, endpointTable(endpoints))
		},
	}
}

func endpointTable(endpoints []tasker.Endpoint) string {
	if len(endpoints) == 0 {
		return "no endpoints are registered\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tALIVE\tLAST SEEN\tHOST\tPID\tTASK TYPES")
	for _, e := range endpoints {
		alive := "no"
		if e.Alive {
			alive = "yes"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n",
			oneLine(e.Name), alive, e.LastSeen.Format(time.RFC3339), oneLine(e.Host), e.PID, oneLine(strings.Join(e.TaskTypes, " ")))
	}
	_ = table.Flush()
	return b.String()
}

func (r *run) removeEndpointsCommand(flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove endpoints that will not come back",
		Long: `Remove endpoints whose managers have stopped for good: their registrations and
their queues, with what is in them, are deleted. Open tasks do not expect them
any more and name them in removed_endpoints; results that were stored stay. An
endpoint that is alive is refused: stop its manager first.

Where some of several endpoints cannot be removed, the others are all the same,
and the exit code is 1.`,
		Example: `  tasker endpoints remove console7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("which endpoints? Name them, as tasker endpoints list shows them")
			}
			for _, name := range args {
				if err := tasker.ValidateEndpoint(name); err != nil {
					return usagef("%v", err)
				}
			}
			c, err := flags.client()
			if err != nil {
				return err
			}
			return r.removeEndpoints(cmd.Context(), c, args)
		},
	}
}

func (r *run) removeEndpoints(ctx context.Context, c *client.Client, names []string) error {
	removed := []client.RemovedEndpoint{}
	var text strings.Builder
	var failed []string
	for _, name := range names {
		done, err := c.RemoveEndpoint(ctx, name)
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		removed = append(removed, done)
		fmt.Fprintf(&text, "removed %s: %d open tasks do not expect it any more", name, done.OpenTasks)
		if done.QueuesPending {
			text.WriteString("; its queues are deleted when RabbitMQ can be reached and nobody consumes from them")
		}
		text.WriteByte('\n')
	}
	if err := r.tell(struct {
		Removed []client.RemovedEndpoint `json:"removed"`
	}{removed}, text.String()); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("not removed: %s", strings.Join(failed, "; "))
	}
	return nil
}
