package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/selector"
	"github.com/taskerhq/tasker/internal/x/near"
)

// grantedRule is a rule in the output of "auth can" and "auth why".
type grantedRule struct {
	Line      int            `json:"line"`
	Rights    []access.Right `json:"rights"`
	Types     []string       `json:"types,omitempty"`     // all, if there are none
	Endpoints string         `json:"endpoints,omitempty"` // all, if it is empty
}

// granted are the rules of a principal, in the output of "auth can".
type granted struct {
	Principal string        `json:"principal"`
	Rules     []grantedRule `json:"rules"`
}

func grantedRules(rules []*access.Rule) []grantedRule {
	list := make([]grantedRule, len(rules))
	for i, rule := range rules {
		list[i] = grantedRule{Line: rule.Line, Rights: rule.Rights(), Types: rule.Types, Endpoints: rule.Endpoints}
	}
	return list
}

// accessFileFlag adds the flag that names another access file than the configuration does.
func accessFileFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "file", "", "access `FILE`, in place of the one that the configuration names")
}

func authCanCommand(r *run) *cobra.Command {
	var as, file string
	cmd := &cobra.Command{
		Use:   "can [--as NAME]",
		Short: "Print who may do what",
		Long: `Print what everybody, or one principal, may do by the access file, and the lines
of the rules that say so.`,
		Example: `  tasker auth can
  tasker auth can --as alice
  tasker auth can --as alice --file /etc/tasker/access.yaml --output json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			policy, err := r.accessFile(file)
			if err != nil {
				return err
			}
			names := policy.Names()
			if as != "" {
				names = []string{as}
			}
			all, lines := make([]granted, 0, len(names)), []string{}
			for _, name := range names {
				who, err := policy.Find(name)
				if err != nil {
					return usagef("%v", err)
				}
				one := granted{Principal: name, Rules: grantedRules(who.Rules())}
				all = append(all, one)
				lines = append(lines, one.lines()...)
			}
			return r.print(all, strings.Join(lines, "\n")+"\n")
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "`NAME` of a principal; by default all of them")
	accessFileFlag(cmd, &file)
	return cmd
}

func (g granted) lines() []string {
	if len(g.Rules) == 0 {
		return []string{g.Principal + " may do nothing"}
	}
	lines := []string{g.Principal + " may"}
	for _, rule := range g.Rules {
		rights := make([]string, len(rule.Rights))
		for i, right := range rule.Rights {
			rights[i] = string(right)
		}
		line := "  " + strings.Join(rights, ", ")
		if rule.Types != nil {
			line += " for task types " + strings.Join(rule.Types, ", ")
		}
		if rule.Endpoints != "" {
			line += " at endpoints " + rule.Endpoints
		}
		lines = append(lines, fmt.Sprintf("%s (line %d)", line, rule.Line))
	}
	return lines
}

// whyAnswer is the output of "auth why".
type whyAnswer struct {
	Allowed bool          `json:"allowed"`
	Rules   []grantedRule `json:"rules,omitempty"`
	Missing string        `json:"missing,omitempty"`
}

func authWhyCommand(r *run) *cobra.Command {
	var as, file string
	var endpoints, labels []string
	cmd := &cobra.Command{
		Use:   "why --as NAME RIGHT [TYPE]",
		Short: "Print the rule that allows something, or what is missing",
		Long: `Print whether somebody may do something, and the rule of the access file that
allows it, or what is missing. The right is one of view, run, cancel, retry,
pause, approve, schedule, drain, admin. Without a type it is asked about all task
types, and without -e about every endpoint of a type.

It contacts nobody, so it knows no endpoint. The labels of those of -e are those
of --label; without any, only rules about names can be for them.

The exit code is 0 if it is allowed, and 1 if it is not.`,
		Example: `  tasker auth why --as alice run deploy
  tasker auth why --as alice run deploy -e web1 --label role=web
  tasker auth why --as bob drain -e db[01-03]`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if as == "" {
				return usagef("say who: --as NAME")
			}
			act, err := r.actOf(cmd, args, endpoints, labels)
			if err != nil {
				return err
			}
			policy, err := r.accessFile(file)
			if err != nil {
				return err
			}
			who, err := policy.Find(as)
			if err != nil {
				return usagef("--as: %v", err)
			}
			decision := who.Decide(act)
			answer := whyAnswer{Allowed: decision.Allowed, Rules: grantedRules(decision.Rules), Missing: decision.Missing()}
			if !decision.Allowed {
				return cmp.Or(r.print(answer, "not allowed: "+answer.Missing+"\n"), endWith(ExitFailure))
			}
			var lines strings.Builder
			lines.WriteString("allowed\n")
			for _, rule := range decision.Rules {
				fmt.Fprintf(&lines, "%s, %s\n", policy.File(), rule)
			}
			return r.print(answer, lines.String())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&as, "as", "", "`NAME` of a principal")
	flags.StringArrayVarP(&endpoints, "endpoint", "e", nil, "at these `endpoints`: a,b or web[01-20]; may be repeated")
	flags.StringArrayVar(&labels, "label", nil, "a label that these have, such as `role=web`; may be repeated")
	accessFileFlag(cmd, &file)
	return cmd
}

// actOf returns what a command line asks about.
func (r *run) actOf(cmd *cobra.Command, args, endpoints, labels []string) (act access.Act, err error) {
	if len(args) < 1 || len(args) > 2 {
		return act, usagef("%s takes a right and a task type, got %d arguments", cmd.CommandPath(), len(args))
	}
	act.Right = access.Right(args[0])
	if !slices.Contains(access.Rights(), act.Right) {
		var known []string
		for _, right := range access.Rights() {
			known = append(known, string(right))
		}
		message := fmt.Sprintf("unknown right %q", args[0])
		if best := near.Name(args[0], known); best != "" {
			message += fmt.Sprintf("; did you mean %s?", best)
		}
		return act, usagef("%s (must be one of %s)", message, strings.Join(known, ", "))
	}
	if len(args) == 2 {
		if act.Type = args[1]; tasker.ValidateTaskType(act.Type) != nil {
			return act, usagef("%v", tasker.ValidateTaskType(act.Type))
		}
	}
	if len(endpoints) == 0 {
		return act, nil
	}
	names, err := r.names(endpoints)
	if err != nil {
		return act, err
	}
	known := map[string]string{}
	for _, label := range labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || !selector.IsLabelKey(key) {
			return act, usagef("invalid --label %q: must be key=value", label)
		}
		known[key] = value
	}
	for _, name := range names {
		act.Endpoints = append(act.Endpoints, access.Endpoint{
			Endpoint: selector.Endpoint{Name: name, Labels: known}, Registered: len(known) > 0,
		})
	}
	return act, nil
}
