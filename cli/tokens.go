package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// configuredToken is where an endpoint's token belongs, for people.
const configuredToken = `
It is shown this once. On the endpoint, put it into a file of its own that only
the manager can read, such as /etc/tasker/secrets/%[1]s.token, and into the
configuration:

  manager:
    mode: gateway
    gateway:
      addresses: [https://gateway.example.com:8889]
      token_file: secrets/%[1]s.token
`

func addEndpointCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME",
		Short: "Give an endpoint its token for the gateway",
		Long: `Print a token with which an endpoint identifies itself at the gateway, where it
can do what is about this endpoint and nothing else. Only a hash of it is stored:
it cannot be printed again. The endpoint need not be registered; one that was
registered by a manager with access to the database can be moved over so.`,
		Example: "  tasker endpoints add console7\n  tasker endpoints add console7 --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, name, err := flags.named(cmd, args)
			if err != nil {
				return err
			}
			issued, err := c.AddEndpoint(cmd.Context(), name)
			if tasker.CodeOf(err) == tasker.Conflict {
				return fmt.Errorf("endpoint %s has a token: \"%s endpoints rotate %s\" prints another one", name, r.Name, name)
			}
			if err != nil {
				return err
			}
			return r.print(issued, fmt.Sprintf("token of %s: %s\n"+configuredToken, name, issued.Token))
		},
	}
}

func rotateEndpointCommand(r *run, flags *apiFlags) *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give an endpoint another token",
		Long: `Print another token of an endpoint. The one that it had stays valid for --overlap;
with --overlap 0 it ends within seconds, which locks out whoever has it. A
manager whose token is refused reads its token_file again, so it need not be
restarted.`,
		Example: "  tasker endpoints rotate console7\n  tasker endpoints rotate console7 --overlap 0",
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 || overlap%time.Second != 0 {
				return usagef("invalid --overlap %s: must be whole seconds, such as 24h, or 0", overlap)
			}
			c, name, err := flags.named(cmd, args)
			if err != nil {
				return err
			}
			issued, err := c.RotateEndpoint(cmd.Context(), name, overlap)
			if tasker.CodeOf(err) == tasker.NotFound {
				return fmt.Errorf("endpoint %s has no token: \"%s endpoints add %s\" prints its first one", name, r.Name, name)
			}
			if err != nil {
				return err
			}
			older := "the one that it had ends within seconds"
			if overlap > 0 {
				older = "the one that it had is valid until " + issued.CreatedTime.Add(overlap).Format(time.RFC3339)
			}
			return r.print(issued, fmt.Sprintf("token of %s: %s\n%s\n"+configuredToken, name, issued.Token, older))
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the token that it had stays valid")
	return cmd
}

// named returns a client, and the one endpoint that a command names.
func (f *apiFlags) named(cmd *cobra.Command, args []string) (*client.Client, string, error) {
	if len(args) != 1 {
		return nil, "", usagef("%s takes the name of one endpoint, got %d arguments", cmd.CommandPath(), len(args))
	}
	if err := tasker.ValidateEndpoint(args[0]); err != nil {
		return nil, "", usagef("%v", err)
	}
	c, err := f.client(cmd)
	return c, args[0], err
}
