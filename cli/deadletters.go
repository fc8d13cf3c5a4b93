package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// deadPage is the largest number of dead letters that list prints.
const deadPage = 200

func deadLettersCommand(r *run) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, show, requeue or discard messages that could not be handled",
		Long: `A message that an endpoint cannot use, or that RabbitMQ gave up, becomes a dead
letter: the database keeps it, with the reason, until somebody requeues or
discards it. These commands use the API at --api, with the token in --token-file;
with --dev, that of "tasker dev".

If some of several letters cannot be processed, the others still are, and the
exit code is 1.`,
		Example: `  tasker dead-letters list
  tasker dead-letters show 7
  tasker dead-letters requeue 7 8
  tasker dead-letters discard --all --yes`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	flags := r.addAPIFlags(cmd)
	cmd.AddCommand(
		listDeadLettersCommand(r, flags), showDeadLettersCommand(r, flags),
		settleDeadLettersCommand(r, flags, requeueLetters()), settleDeadLettersCommand(r, flags, discardLetters()),
	)
	return cmd
}

func listDeadLettersCommand(r *run, flags *apiFlags) *cobra.Command {
	var limit int
	var before int64
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, newest first",
		Long: `List the dead letters, newest first: id, time, size, the queue that each came
from, and the reason. With --output json also the first 1,024 bytes of each body.`,
		Example: `  tasker dead-letters list
  tasker dead-letters list --limit 200 --before 1000
  tasker dead-letters list --output json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > deadPage {
				return usagef("invalid --limit %d: must be 1-%d", limit, deadPage)
			}
			if before < 0 {
				return usagef("invalid --before %d: must be the id of a letter", before)
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			list := []client.DeadLetter{}
			for l, err := range c.DeadLetters(cmd.Context(), before) {
				if err != nil {
					return err
				}
				if len(list) == limit {
					return r.printDeadLetters(list, &list[limit-1].ID)
				}
				list = append(list, l)
			}
			return r.printDeadLetters(list, nil)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, fmt.Sprintf("how many to list, at most %d", deadPage))
	cmd.Flags().Int64Var(&before, "before", 0, "list only those with smaller ids")
	return cmd
}

func (r *run) printDeadLetters(list []client.DeadLetter, next *int64) error {
	answer := struct {
		DeadLetters []client.DeadLetter `json:"dead_letters"`
		Next        *int64              `json:"next"`
	}{list, next}
	var out strings.Builder
	if len(list) == 0 {
		out.WriteString("no dead letters\n")
	} else {
		table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tTIME\tBYTES\tFROM\tREASON")
		for _, l := range list {
			_, _ = fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%s\n", l.ID, l.Time.Format(time.RFC3339), l.Size,
				oneLine(l.Queue), oneLine(l.Reason))
		}
		_ = table.Flush()
	}
	if next != nil {
		fmt.Fprintf(&out, "more: --before %d\n", *next)
	}
	return r.print(answer, out.String())
}

func showDeadLettersCommand(r *run, flags *apiFlags) *cobra.Command {
	var bodyOnly bool
	cmd := &cobra.Command{
		Use:   "show ID...",
		Short: "Show dead letters with their whole bodies",
		Long: `Show dead letters with their whole bodies: as text where they are UTF-8, else in
base64; control characters are escaped. With --body only the body of one letter is
written, byte for byte, but not to a terminal, which it could control.`,
		Example: `  tasker dead-letters show 7 8
  tasker dead-letters show 7 --body > letter
  tasker dead-letters show 7 --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := letterIDs(cmd, args)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				return usagef("missing dead letter: give at least one id (see %s --help)", cmd.CommandPath())
			}
			if bodyOnly && (len(ids) > 1 || r.output == outputJSON) {
				return usagef("--body writes the bytes of one letter: give one id, without --output json")
			}
			if bodyOnly && isTerminal(r.Stdout) {
				return usagef("--body writes raw bytes, which could control the terminal: redirect them (--body > letter), or omit --body")
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			found := []client.DeadLetter{}
			var errs []error
			for _, id := range ids {
				l, err := c.DeadLetter(cmd.Context(), id)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				found = append(found, l)
			}
			if bodyOnly && len(found) == 1 {
				return r.writeBody(found[0])
			}
			return errors.Join(append(errs, r.showDeadLetters(found))...)
		},
	}
	cmd.Flags().BoolVar(&bodyOnly, "body", false, "write only the body of one letter, byte for byte")
	return cmd
}

func (r *run) showDeadLetters(found []client.DeadLetter) error {
	if len(found) == 0 && r.output != outputJSON {
		return nil
	}
	var out strings.Builder
	for i, l := range found {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "id       %d\ntime     %s\nfrom     %s\nreason   %s\nmessage  %s\nbytes    %d\n",
			l.ID, l.Time.Format(time.RFC3339), orNone(l.Queue), orNone(l.Reason), orNone(l.MessageID), l.Size)
		if l.Truncated {
			out.WriteString("         too large for the database: this is only the beginning of the body\n")
		}
		switch {
		case l.Body != nil:
			fmt.Fprintf(&out, "body\n%s\n", strings.TrimSuffix(*l.Body, "\n"))
		case l.BodyBase64 != nil:
			fmt.Fprintf(&out, "body, in base64\n%s\n", base64.StdEncoding.EncodeToString(l.BodyBase64))
		}
	}
	return r.print(struct {
		DeadLetters []client.DeadLetter `json:"dead_letters"`
	}{found}, out.String())
}

func (r *run) writeBody(l client.DeadLetter) error {
	body := string(l.BodyBase64)
	if l.Body != nil {
		body = *l.Body
	}
	if _, err := io.WriteString(r.Stdout, body); err != nil {
		return fmt.Errorf("write the body: %w", err)
	}
	return nil
}

// settling is what a command does with letters.
type settling struct {
	verb, past  string
	short, long string
	do          func(*client.Client, context.Context, int64) error
}

func requeueLetters() settling {
	return settling{
		verb: "requeue", past: "requeued", do: (*client.Client).RequeueDeadLetter,
		short: "Send dead letters back to their queues",
		long: `Send dead letters back to the queues that they came from, unchanged, once the
cause is fixed. A message that its endpoint rejects again becomes a new dead
letter. It does no harm to requeue a letter twice: endpoints recognize the tasks
that they have received.

A letter stays if its queue is unknown, or if its endpoint has none now.`,
	}
}

func discardLetters() settling {
	return settling{
		verb: "discard", past: "discarded", do: (*client.Client).DiscardDeadLetter,
		short: "Delete dead letters for good",
		long: `Delete dead letters for good. They cannot be restored: look at them first, with
"tasker dead-letters show", or save their bodies with its --body.`,
	}
}

func settleDeadLettersCommand(r *run, flags *apiFlags, s settling) *cobra.Command {
	var all, yes bool
	path := defaultName + " dead-letters " + s.verb
	cmd := &cobra.Command{
		Use:   s.verb + " ID... | --all",
		Short: s.short,
		Long: s.long + `

--all selects all letters that exist when it begins. Alone it only prints how
many there are; add --yes to confirm.`,
		Example: fmt.Sprintf("  %[1]s 7\n  %[1]s 7 8 9\n  %[1]s --all          # how many?\n  %[1]s --all --yes", path),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := letterIDs(cmd, args)
			switch {
			case err != nil:
				return err
			case all && len(ids) > 0:
				return usagef("--all and ids exclude each other")
			case !all && len(ids) == 0:
				return usagef("missing dead letter: give at least one id, or --all (see %s --help)", cmd.CommandPath())
			case yes && !all:
				return usagef("--yes confirms --all: give both, or neither")
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			if all {
				if ids, err = allLetters(cmd.Context(), c); err != nil {
					return err
				}
				if !yes && len(ids) > 0 {
					return usagef("nothing was %s: add --yes for all %d dead letters", s.past, len(ids))
				}
			}
			return r.settleDeadLetters(cmd.Context(), c, s, ids)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all letters; needs --yes")
	cmd.Flags().BoolVar(&yes, "yes", false, "confirm --all")
	return cmd
}

// settleDeadLetters continues if one letter fails, and stops if every letter
// would, since a service cannot be reached.
func (r *run) settleDeadLetters(ctx context.Context, c *client.Client, s settling, ids []int64) error {
	type failure struct {
		ID    int64  `json:"id"`
		Error string `json:"error"`
	}
	done, failed := []int64{}, []failure{}
	var out strings.Builder
	var errs []error
	for i, id := range ids {
		err := s.do(c, ctx, id)
		if err == nil {
			done = append(done, id)
			fmt.Fprintf(&out, "dead letter %d: %s\n", id, s.past)
			continue
		}
		failed = append(failed, failure{id, err.Error()})
		errs = append(errs, err)
		if rest := len(ids) - i - 1; rest > 0 && (ctx.Err() != nil || tasker.CodeOf(err) == tasker.Unavailable) {
			errs = append(errs, fmt.Errorf("%d more were not tried", rest))
			break
		}
	}
	if len(ids) == 0 {
		out.WriteString("no dead letters\n")
	}
	return errors.Join(append(errs, r.print(map[string]any{s.past: done, "failed": failed}, out.String()))...)
}

// allLetters returns the ids of all letters, oldest first.
func allLetters(ctx context.Context, c *client.Client) ([]int64, error) {
	var ids []int64
	for l, err := range c.DeadLetters(ctx, 0) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, l.ID)
	}
	slices.Reverse(ids)
	return ids, nil
}

// letterIDs parses the ids of a command line, without duplicates.
func letterIDs(cmd *cobra.Command, args []string) ([]int64, error) {
	var ids []int64
	seen := make(map[int64]bool)
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, usagef("invalid id %q: must be a positive integer (see %s --help)", arg, cmd.CommandPath())
		}
		if !seen[id] {
			ids = append(ids, id)
		}
		seen[id] = true
	}
	return ids, nil
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return text.Visible(s)
}

// oneLine shortens text for a table.
func oneLine(s string) string {
	return text.Shorten(orNone(s), 100)
}
