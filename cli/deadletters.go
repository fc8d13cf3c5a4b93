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
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/text"
)

// DeadLetters are the dead letters that the commands work on; see
// [app.DeadLetters].
type DeadLetters interface {
	List(ctx context.Context, before int64, limit int) ([]app.DeadLetter, error)
	Find(ctx context.Context, id int64) (app.DeadLetter, error)
	Requeue(ctx context.Context, id int64) error
	Discard(ctx context.Context, id int64) error
	Close(ctx context.Context)
}

// deadPage is how many dead letters are read at a time.
const deadPage = 200

func (r *run) deadLettersCommand() *cobra.Command {
	var data devData
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, show, requeue or discard messages that were no task",
		Long: `A message that an endpoint cannot use, or that RabbitMQ gave up, becomes a dead
letter: it is kept in the database, with its reason, until somebody requeues or
discards it. These commands work on the configured database and RabbitMQ; the
API need not run, but it is what brings new letters into the database. With --dev
they work on the data of "tasker dev", whose own API alone can requeue.

Where some of several letters cannot be treated, the others are all the same,
and the exit code is 1.`,
		Example: `  tasker dead-letters list
  tasker dead-letters show 7
  tasker dead-letters requeue 7 8
  tasker dead-letters discard --all --yes`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	data.add(cmd)
	cmd.AddCommand(
		r.listDeadLettersCommand(&data), r.showDeadLettersCommand(&data),
		r.settleDeadLettersCommand(&data, requeueLetters()), r.settleDeadLettersCommand(&data, discardLetters()),
	)
	return cmd
}

// withDeadLetters opens the dead letters for do.
func (r *run) withDeadLetters(cmd *cobra.Command, data *devData, do func(ctx context.Context, letters DeadLetters) error) error {
	cfg, err := data.load(r, cmd, config.PartAPI|config.PartAdmin)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	letters, err := r.Actions.OpenDeadLetters(ctx, cfg, r.quietLog(cfg.Log))
	if err != nil {
		return err
	}
	defer letters.Close(ctx)
	return do(ctx, letters)
}

func (r *run) listDeadLettersCommand(data *devData) *cobra.Command {
	var limit int
	var before int64
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, newest first",
		Long: `List the dead letters, newest first: id, time, size, the queue that each came
from, and why. With --output json also the first 1,024 bytes of each body.`,
		Example: `  tasker dead-letters list
  tasker dead-letters list --limit 200 --before 1000
  tasker dead-letters list --output json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > deadPage {
				return usagef("--limit is %d: give a number from 1 to %d", limit, deadPage)
			}
			if before < 0 {
				return usagef("--before is %d: give the id of a letter", before)
			}
			return r.withDeadLetters(cmd, data, func(ctx context.Context, letters DeadLetters) error {
				list, err := letters.List(ctx, before, limit+1)
				if err != nil {
					return err
				}
				var next *int64
				if len(list) > limit {
					list = list[:limit]
					next = &list[limit-1].ID
				}
				return r.tellDeadLetters(list, next)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, fmt.Sprintf("how many to list, at most %d", deadPage))
	cmd.Flags().Int64Var(&before, "before", 0, "list those with smaller ids only")
	return cmd
}

func (r *run) tellDeadLetters(list []app.DeadLetter, next *int64) error {
	answer := struct {
		DeadLetters []app.DeadLetter `json:"dead_letters"`
		Next        *int64           `json:"next"`
	}{append([]app.DeadLetter{}, list...), next}
	var out strings.Builder
	if len(list) == 0 {
		out.WriteString("no dead letters\n")
	} else {
		table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tTIME\tBYTES\tFROM\tREASON")
		for _, l := range list {
			_, _ = fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%s\n", l.ID, l.Time.Format(time.RFC3339), l.Size, oneLine(l.Queue), oneLine(l.Reason))
		}
		_ = table.Flush()
	}
	if next != nil {
		fmt.Fprintf(&out, "more: --before %d\n", *next)
	}
	return r.tell(answer, out.String())
}

func (r *run) showDeadLettersCommand(data *devData) *cobra.Command {
	var bodyOnly bool
	cmd := &cobra.Command{
		Use:   "show ID...",
		Short: "Show dead letters with their whole bodies",
		Long: `Show dead letters with their whole bodies: as text where they are UTF-8, else in
base64; control characters are made visible. With --body nothing but the body of
one letter is written, byte for byte, as it came, but not to a terminal, which
it could steer.`,
		Example: `  tasker dead-letters show 7 8
  tasker dead-letters show 7 --body > letter
  tasker dead-letters show 7 --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := letterIDs(cmd, args)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				return usagef("which dead letters? Give their ids (see %s --help)", cmd.CommandPath())
			}
			if bodyOnly && (len(ids) > 1 || r.output == outputJSON) {
				return usagef("--body writes the bytes of one letter: give one id, and no --output json")
			}
			if bodyOnly && isTerminal(r.Stdout) {
				return usagef("--body writes the bytes of a letter as they came, which could steer the terminal: redirect them (--body > letter), or leave out --body")
			}
			return r.withDeadLetters(cmd, data, func(ctx context.Context, letters DeadLetters) error {
				found := []app.DeadLetter{}
				var errs []error
				for _, id := range ids {
					l, err := letters.Find(ctx, id)
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
			})
		},
	}
	cmd.Flags().BoolVar(&bodyOnly, "body", false, "write the body of one letter only, byte for byte")
	return cmd
}

func (r *run) showDeadLetters(found []app.DeadLetter) error {
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
			out.WriteString("         too large for the database: this is the beginning of the body only\n")
		}
		switch {
		case l.Body != nil:
			fmt.Fprintf(&out, "body\n%s\n", strings.TrimSuffix(*l.Body, "\n"))
		case l.BodyBase64 != nil:
			fmt.Fprintf(&out, "body, in base64\n%s\n", *l.BodyBase64)
		}
	}
	return r.tell(struct {
		DeadLetters []app.DeadLetter `json:"dead_letters"`
	}{found}, out.String())
}

func (r *run) writeBody(l app.DeadLetter) error {
	var body string
	switch {
	case l.Body != nil:
		body = *l.Body
	case l.BodyBase64 != nil:
		decoded, err := base64.StdEncoding.DecodeString(*l.BodyBase64)
		if err != nil {
			return fmt.Errorf("decode the body: %w", err)
		}
		body = string(decoded)
	}
	if _, err := io.WriteString(r.Stdout, body); err != nil {
		return fmt.Errorf("write the body: %w", err)
	}
	return nil
}

// settling is what a command does to letters.
type settling struct {
	verb, past  string
	short, long string
	do          func(DeadLetters, context.Context, int64) error
}

func requeueLetters() settling {
	return settling{
		verb: "requeue", past: "requeued", do: DeadLetters.Requeue,
		short: "Send dead letters back to the queues that they came from",
		long: `Send dead letters back to the queues that they came from, as they are, once what
kept their endpoints from taking them is mended. What an endpoint does not take
this time either becomes a new dead letter. It does no harm to requeue a letter
twice: endpoints recognize the tasks that they know.

A letter stays where its queue is not known, or where its endpoint has none now.`,
	}
}

func discardLetters() settling {
	return settling{
		verb: "discard", past: "discarded", do: DeadLetters.Discard,
		short: "Delete dead letters for good",
		long: `Delete dead letters for good. Nothing brings them back: look at them first, with
"tasker dead-letters show", or keep a copy of their bodies with its --body.`,
	}
}

func (r *run) settleDeadLettersCommand(data *devData, s settling) *cobra.Command {
	var all, yes bool
	path := defaultName + " dead-letters " + s.verb
	cmd := &cobra.Command{
		Use:   s.verb + " ID... | --all",
		Short: s.short,
		Long: s.long + `

--all takes all that there are when it begins. Alone it does nothing and says
how many these are; with --yes it does it.`,
		Example: fmt.Sprintf("  %[1]s 7\n  %[1]s 7 8 9\n  %[1]s --all          # how many?\n  %[1]s --all --yes", path),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := letterIDs(cmd, args)
			switch {
			case err != nil:
				return err
			case all && len(ids) > 0:
				return usagef("--all and ids exclude each other: give the one or the other")
			case !all && len(ids) == 0:
				return usagef("which dead letters? Give their ids, or --all (see %s --help)", cmd.CommandPath())
			case yes && !all:
				return usagef("--yes agrees to --all: give that, too, or neither")
			}
			return r.withDeadLetters(cmd, data, func(ctx context.Context, letters DeadLetters) error {
				if all {
					if ids, err = allLetters(ctx, letters); err != nil {
						return err
					}
					if !yes && len(ids) > 0 {
						return usagef("nothing was %s: add --yes for all %d dead letters", s.past, len(ids))
					}
				}
				return r.settleDeadLetters(ctx, letters, s, ids)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that there are; needs --yes")
	cmd.Flags().BoolVar(&yes, "yes", false, "really all of them")
	return cmd
}

// settleDeadLetters goes on where one letter cannot be settled, and ends where
// no letter could be, since a service is away.
func (r *run) settleDeadLetters(ctx context.Context, letters DeadLetters, s settling, ids []int64) error {
	type failure struct {
		ID    int64  `json:"id"`
		Error string `json:"error"`
	}
	done, failed := []int64{}, []failure{}
	var out strings.Builder
	var errs []error
	for i, id := range ids {
		err := s.do(letters, ctx, id)
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
	return errors.Join(append(errs, r.tell(map[string]any{s.past: done, "failed": failed}, out.String()))...)
}

// allLetters gives the ids of all letters, the oldest first.
func allLetters(ctx context.Context, letters DeadLetters) ([]int64, error) {
	var ids []int64
	for before := int64(0); ; {
		page, err := letters.List(ctx, before, deadPage)
		if err != nil {
			return nil, err
		}
		for _, l := range page {
			ids = append(ids, l.ID)
		}
		if len(page) < deadPage {
			break
		}
		before = page[len(page)-1].ID
	}
	slices.Reverse(ids)
	return ids, nil
}

// letterIDs reads the ids of a command line, each once.
func letterIDs(cmd *cobra.Command, args []string) ([]int64, error) {
	var ids []int64
	seen := make(map[int64]bool)
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, usagef("%q is no id of a dead letter: it takes a positive number (see %s --help)", arg, cmd.CommandPath())
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

// oneLine is a text in a table.
func oneLine(s string) string {
	return text.Shorten(orNone(s), 100)
}
