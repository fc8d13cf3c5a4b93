package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/identity"
)

func authCommand(r *run) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "auth",
		Short: "Make tokens of people, and explain their rights",
		Long: `Make tokens of people and programs, check the access file (api.access_file),
which says who may do what at the API, and explain its decisions. No command
contacts the API or changes a file.`,
		Example: `  tasker auth token --as alice
  tasker auth check /etc/tasker/access.yaml
  tasker auth why --as alice run deploy -e web1`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	cmd.AddCommand(authTokenCommand(r), authCheckCommand(r), authCanCommand(r), authWhyCommand(r))
	return cmd
}

// madeToken is the output of "auth token".
type madeToken struct {
	Principal string    `json:"principal"`
	Token     string    `json:"token"`
	SHA256    string    `json:"sha256"`
	Expires   time.Time `json:"expires"`
}

func authTokenCommand(r *run) *cobra.Command {
	var as, expires, note string
	cmd := &cobra.Command{
		Use:   "token --as NAME",
		Short: "Print a new token, and what the access file needs",
		Long: `Print a new token, and the lines for the access file by which the API knows it.
They have its SHA-256 and not the token, which is shown this once and stored
nowhere. To replace a token, add the lines of the new one, and remove those of
the older one when nobody uses it any more.`,
		Example: `  tasker auth token --as alice
  tasker auth token --as ci --expires 30d --note "deploy pipeline"
  tasker auth token --as ci --expires 2027-03-01 --output json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := access.ValidateName(as); err != nil {
				return usagef("--as: %v", err)
			}
			end, err := expiryOf(expires, time.Now())
			if err != nil {
				return err
			}
			token := identity.NewPrincipalToken()
			sum := sha256.Sum256([]byte(token))
			made := madeToken{Principal: as, Token: token, SHA256: hex.EncodeToString(sum[:]), Expires: end}
			lines := fmt.Sprintf("token of %s: %s\n\nIt is shown this once. The access file needs, under principals:\n\n"+
				"  %s:\n    tokens:\n      - sha256: %s\n        expires: %s\n", as, token, as, made.SHA256, end.Format(time.RFC3339))
			if note != "" {
				lines += "        note: " + strconv.Quote(note) + "\n"
			}
			lines += "\nWhoever uses it puts it into a file of their own, and names that with --token-file,\nor " +
				config.EnvName("api.token_file") + ".\n"
			return r.print(made, lines)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&as, "as", "", "`NAME` of the principal whose token it is")
	flags.StringVar(&expires, "expires", "90d", "when it ends: after so many days, or a `date`")
	flags.StringVar(&note, "note", "", "what it is for")
	return cmd
}

// maxTokenDays is the longest life of a token, in days.
const maxTokenDays = 3650

// expiryOf returns when a token ends: after days, such as 90d, or at the beginning of a
// date in UTC.
func expiryOf(text string, now time.Time) (time.Time, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.Atoi(number); err == nil && days > 0 && days <= maxTokenDays {
			return now.UTC().Truncate(time.Second).AddDate(0, 0, days), nil
		}
	} else if date, err := time.Parse(time.DateOnly, text); err == nil && date.After(now) && date.Before(now.AddDate(0, 0, maxTokenDays)) {
		return date, nil
	}
	return time.Time{}, usagef(
		"invalid --expires %q: must be a number of days up to %d, such as 90d, or a date to come, such as 2027-03-01", text, maxTokenDays)
}

// accessFile returns the policy of a file, or else of the one that the configuration
// names.
func (r *run) accessFile(file string) (*access.Policy, error) {
	if file == "" {
		cfg, err := r.load(config.Everything)
		if err != nil {
			return nil, err
		}
		if file = cfg.AccessFile; file == "" {
			return nil, usagef("%s: api.access_file is not set: name a file", cfg.File)
		}
	}
	policy, err := access.Read(file)
	if wrong, ok := errors.AsType[*access.Error](err); ok {
		return nil, &config.Error{Problems: wrong.Problems}
	}
	if err != nil {
		return nil, usagef("%v", err)
	}
	return policy, nil
}

// checkedAccess is the output of "auth check".
type checkedAccess struct {
	OK         bool     `json:"ok"`
	File       string   `json:"file,omitempty"`
	Principals int      `json:"principals"`
	Tokens     int      `json:"tokens"`
	Rules      int      `json:"rules"`
	Problems   []string `json:"problems,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
}

func authCheckCommand(r *run) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Find all mistakes in an access file",
		Long: `Read an access file, by default the one that the configuration names, and print
all mistakes at once: unknown keys, names that nothing defines, tokens without an
end. Warnings are about tokens that have ended, or end within 14 days, and about
principals whom no rule gives any right.

The exit code is 0 without mistakes, even with warnings, and 2 otherwise.`,
		Example: "  tasker auth check\n  tasker auth check /etc/tasker/access.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one file, got %d arguments", cmd.CommandPath(), len(args))
			}
			policy, err := r.accessFile(strings.Join(args, ""))
			if wrong, ok := errors.AsType[*config.Error](err); ok && r.output == outputJSON {
				return errors.Join(r.print(checkedAccess{Problems: wrong.Problems}, ""), errMistakes)
			}
			if err != nil {
				return err
			}
			answer := checkedAccess{
				OK: true, File: policy.File(), Principals: len(policy.Names()), Tokens: len(policy.Tokens()), Rules: policy.Rules(),
				Warnings: accessWarnings(policy, time.Now()),
			}
			lines := []string{fmt.Sprintf("%s: no mistakes (%d principals, %d tokens, %d rules)",
				answer.File, answer.Principals, answer.Tokens, answer.Rules)}
			for _, warning := range answer.Warnings {
				lines = append(lines, "warning: "+warning)
			}
			return r.print(answer, strings.Join(lines, "\n")+"\n")
		},
	}
}

// accessWarnings returns what is valid in an access file, and probably not what was meant.
func accessWarnings(policy *access.Policy, now time.Time) (warnings []string) {
	for _, token := range policy.Ending(now, config.TokenEnds) {
		verb := "ends"
		if !now.Before(token.Expires) {
			verb = "ended"
		}
		warnings = append(warnings, fmt.Sprintf("%s %s at %s", token, verb, token.Expires.Format(time.RFC3339)))
	}
	for _, name := range policy.Names() {
		who, err := policy.Find(name)
		if err == nil && !slices.ContainsFunc(access.Rights(), who.HasAny) {
			warnings = append(warnings, fmt.Sprintf("no rule gives %s any right", name))
		}
	}
	return warnings
}
