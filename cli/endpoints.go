package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func endpointsCommand(r *run) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "endpoints",
		Short: "List the registered endpoints, or remove some",
		Long: `An endpoint registers when its manager starts for the first time, and stays
registered: tasks for all endpoints are for it, too, and its queues collect them
while it is down. These commands use the API at --api, with the token in
--token-file; with --dev, that of "tasker dev".`,
		Example: `  tasker endpoints list
  tasker endpoints remove console7
  tasker endpoints remove console7 --api https://tasker.example.com --token-file ~/.tasker-token`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	flags := r.addAPIFlags(cmd)
	cmd.AddCommand(listEndpointsCommand(r, flags), removeEndpointsCommand(r, flags))
	return cmd
}

func listEndpointsCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the registered endpoints",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			endpoints := []tasker.Endpoint{}
			for e, err := range c.Endpoints(cmd.Context(), "") {
				if err != nil {
					return err
				}
				endpoints = append(endpoints, e)
			}
			return r.print(struct {
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

func removeEndpointsCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove endpoints that will not come back",
		Long: `Remove endpoints whose managers have stopped for good: their registrations and
their queues, with all messages, are deleted. Open tasks no longer expect them
and list them in removed_endpoints; stored results are kept. An endpoint that is
alive is not removed: stop its manager first.

If some of several endpoints cannot be removed, the others still are, and the
exit code is 1.`,
		Example: `  tasker endpoints remove console7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("missing endpoint: name at least one; tasker endpoints list shows them")
			}
			for _, name := range args {
				if err := tasker.ValidateEndpoint(name); err != nil {
					return usagef("%v", err)
				}
			}
			c, err := flags.client(cmd)
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
		fmt.Fprintf(&text, "removed %s: %d open tasks no longer expect it", name, done.OpenTasks)
		if done.QueuesPending {
			text.WriteString("; its queues will be deleted once RabbitMQ can be reached and nobody consumes from them")
		}
		text.WriteByte('\n')
	}
	if err := r.print(struct {
		Removed []client.RemovedEndpoint `json:"removed"`
	}{removed}, text.String()); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("not removed: %s", strings.Join(failed, "; "))
	}
	return nil
}
