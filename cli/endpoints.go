package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
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
		Short: "Add, list, drain or remove endpoints",
		Long: `An endpoint registers when its manager starts for the first time, and stays
registered: tasks for all endpoints are for it, too, and its queues collect them
while it is down. An endpoint without access to the database (manager.mode:
gateway) needs a token, which "tasker endpoints add" prints. These commands use
the API at --api, with the token in --token-file; with --dev, that of "tasker
dev".`,
		Example: `  tasker endpoints add console7
  tasker endpoints list
  tasker endpoints drain console7 --reason "new disk"
  tasker endpoints remove console7
  tasker endpoints remove console7 --api https://tasker.example.com --token-file ~/.tasker-token`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	flags := r.addAPIFlags(cmd)
	cmd.AddCommand(addEndpointCommand(r, flags), rotateEndpointCommand(r, flags), listEndpointsCommand(r, flags),
		drainEndpointsCommand(r, flags), resumeEndpointsCommand(r, flags), removeEndpointsCommand(r, flags))
	return cmd
}

func listEndpointsCommand(r *run, flags *apiFlags) *cobra.Command {
	var selectors []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the registered endpoints, and those that have a token",
		Long: `List the registered endpoints, and those that have a token and have never
registered. TOKEN is the day on which a token of the endpoint was last used at a
gateway, "unused", or "-" if it has none, with the number of its tokens if an older one is
still valid.

A selector chooses endpoints by their labels, name, task types, version, and when
they were last seen; an endpoint is listed if one of several selectors chooses
it.`,
		Example: `  tasker endpoints list
  tasker endpoints list -S 'role=web,zone!=eu'
  tasker endpoints list -S 'seen>1h' -S 'version!~1.4.*'
  tasker endpoints list -S role=web --output names | tasker run diagnose -e - --yes`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			list := endpointList{Endpoints: []tasker.Endpoint{}, Tokens: []tasker.EndpointToken{}}
			registered := c.Endpoints(cmd.Context(), "")
			if cmd.Flags().Changed("select") {
				registered = c.SelectEndpoints(cmd.Context(), selectors...)
			}
			chosen := map[string]bool{}
			for e, err := range registered {
				if err != nil {
					return err
				}
				list.Endpoints, chosen[e.Name] = append(list.Endpoints, e), true
			}
			for t, err := range c.EndpointTokens(cmd.Context()) {
				if tasker.CodeOf(err) == tasker.NotFound {
					break // an API of an older release, which knows no tokens
				}
				if err != nil {
					return err
				}
				if len(selectors) == 0 || chosen[t.Endpoint] {
					list.Tokens = append(list.Tokens, t)
				}
			}
			if len(selectors) > 0 && len(list.Endpoints) == 0 {
				return r.printEndpoints(list, "no registered endpoint is chosen\n")
			}
			return r.printEndpoints(list, list.table())
		},
	}
	cmd.Flags().StringArrayVarP(&selectors, "select", "S", nil, "list only those that this `selector` chooses; may be repeated")
	return withOutputs(cmd, outputText, outputJSON, outputLines, outputNames)
}

// endpointList is the output of "endpoints list".
type endpointList struct {
	Endpoints []tasker.Endpoint      `json:"endpoints"`
	Tokens    []tasker.EndpointToken `json:"tokens"`
}

// printEndpoints prints the list; in the formats with a line for each endpoint, only
// the registered ones.
func (r *run) printEndpoints(l endpointList, text string) error {
	switch r.output {
	case outputNames:
		var names []string
		for _, e := range l.Endpoints {
			names = append(names, e.Name)
		}
		return r.printNames(names)
	case outputLines:
		for i := range l.Endpoints {
			if err := r.printLine("endpoint", map[string]any{"endpoint": &l.Endpoints[i]}); err != nil {
				return err
			}
		}
		return nil
	}
	return r.print(l, text)
}

func (l endpointList) table() string {
	tokens := map[string][]tasker.EndpointToken{}
	for _, t := range l.Tokens {
		tokens[t.Endpoint] = append(tokens[t.Endpoint], t)
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tALIVE\tLAST SEEN\tTOKEN\tHOST\tPID\tTASK TYPES")
	for _, e := range l.Endpoints {
		alive := "no"
		if e.Alive {
			alive = "yes"
		}
		if e.Drain != nil {
			alive += ", drained"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", oneLine(e.Name), alive, e.LastSeen.Format(time.RFC3339),
			tokenCell(tokens[e.Name]), oneLine(e.Host), e.PID, oneLine(strings.Join(e.TaskTypes, " ")))
		delete(tokens, e.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		_, _ = fmt.Fprintf(table, "%s\tno\tnever\t%s\t-\t-\t-\n", oneLine(name), tokenCell(tokens[name]))
	}
	_ = table.Flush()
	if len(l.Endpoints)+len(l.Tokens) == 0 {
		return "no endpoints are registered, and none has a token\n"
	}
	return b.String()
}

// tokenCell says what tokens an endpoint has, in a table.
func tokenCell(tokens []tasker.EndpointToken) string {
	if len(tokens) == 0 {
		return "-"
	}
	used := ""
	for _, t := range tokens {
		used = max(used, t.LastUsed)
	}
	cell := oneLine(cmp.Or(used, "unused"))
	if len(tokens) > 1 {
		cell += fmt.Sprintf(" (%d)", len(tokens))
	}
	return cell
}

func removeEndpointsCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove endpoints that will not come back",
		Long: `Remove endpoints whose managers have stopped for good: their registrations and
their queues, with all messages, are deleted, and their tokens end within
seconds. Open tasks no longer expect them and list them in removed_endpoints;
stored results are kept. An endpoint that is alive is not removed: stop its
manager first. If that is out of reach, "tasker endpoints rotate NAME --overlap 0"
locks it out of the gateway, and its lease ends.

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
