package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/client"
)

// completionTime bounds how long the shell waits for the API.
const completionTime = 300 * time.Millisecond

// completer returns the values of an argument or a flag.
type completer = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// ask returns values from the API, or none if it does not answer soon: a completion
// is silent about errors.
func (r *run) ask(api *apiFlags, cmd *cobra.Command, values func(context.Context, *client.Client) []string) []string {
	c, err := api.client(cmd)
	if err != nil {
		return nil
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	return values(ctx, c)
}

// completeTypes completes the first argument, or a flag, with task types.
func (r *run) completeTypes(api *apiFlags) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return r.ask(api, cmd, func(ctx context.Context, c *client.Client) (names []string) {
			types, _ := c.TaskTypes(ctx)
			for _, t := range types {
				names = append(names, t.Name)
			}
			return names
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTasks completes the only argument with the tasks that the user has run.
func (r *run) completeTasks(api *apiFlags) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return r.remembered(api), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeEndpoints completes --endpoint with the registered endpoints.
func (r *run) completeEndpoints(cmd *cobra.Command, api *apiFlags) {
	_ = cmd.RegisterFlagCompletionFunc("endpoint", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		const most = 1000
		return r.ask(api, cmd, func(ctx context.Context, c *client.Client) (names []string) {
			for e, err := range c.Endpoints(ctx, "") {
				if err != nil || len(names) == most {
					break
				}
				names = append(names, e.Name)
			}
			return names
		}), cobra.ShellCompDirectiveNoFileComp
	})
}
