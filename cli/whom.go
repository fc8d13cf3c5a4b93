package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/nodeset"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxNames bounds how many endpoints a command line can name.
	maxNames = 100_000
	// maxInput bounds what is read from a file or from stdin.
	maxInput = 64 << 20
	// confirmOver is how many endpoints a task may be for without a confirmation.
	confirmOver = 10
)

// whom are the flags that say for which endpoints a task is.
type whom struct {
	all                            bool
	selectors, endpoints           []string
	limit, seed                    string
	expect, expectMin, expectAtMax int
	yes                            string
	deliver                        int
}

// yesAny is the value of --yes without a number.
const yesAny = "any"

func (f *whom) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "all endpoints that perform the type")
	flags.StringArrayVarP(&f.selectors, "select", "S", nil, "those that this `selector` chooses; may be repeated")
	flags.StringArrayVarP(&f.endpoints, "endpoint", "e", nil,
		"these `endpoints`: a,b or web[01-20], @file, or - for stdin; may be repeated")
	flags.StringVar(&f.limit, "limit", "", "only so many of them, such as 10 or 10%")
	flags.StringVar(&f.seed, "seed", "", "with --limit: another `text` takes others")
	flags.IntVar(&f.expect, "expect", 0, "refuse unless they are exactly `N`")
	flags.IntVar(&f.expectMin, "expect-min", 0, "refuse if they are fewer than `N`")
	flags.IntVar(&f.expectAtMax, "expect-max", 0, "refuse if they are more than `N`")
	flags.IntVar(&f.deliver, "any", 0, "one of them performs the task, or with =`N` so many: those which take it first")
	flags.Lookup("any").NoOptDefVal = "1"
	flags.StringVar(&f.yes, "yes", "", "do not ask for a confirmation; with =`N`, refuse unless they are exactly N")
	flags.Lookup("yes").NoOptDefVal = yesAny
}

// apply puts whom a task is for into it. It is a wrong use to say nothing: a
// forgotten variable must not mean everybody.
func (f *whom) apply(ctx context.Context, r *run, cmd *cobra.Command, c *client.Client, taskType string, t *client.NewTask) error {
	ways := 0
	for _, given := range []bool{f.all, len(f.selectors) > 0, len(f.endpoints) > 0} {
		if given {
			ways++
		}
	}
	deliver := tasker.Places(f.deliver)
	switch {
	case cmd.Flags().Changed("any") && !deliver.Valid():
		return usagef("invalid --any=%d: must be 1 to %d endpoints", f.deliver, tasker.MaxPlaces)
	case ways == 0 && deliver == 0:
		return usagef("say whom: --all%s, -S SELECTOR, -e NAME or --any", performers(ctx, c, taskType))
	case ways > 1:
		return usagef("--all, --select and --endpoint exclude each other")
	}
	t.All, t.Select, t.Limit, t.Seed, t.Deliver = f.all, f.selectors, tasker.Limit(f.limit), f.seed, deliver
	if len(f.endpoints) > 0 {
		names, err := r.names(f.endpoints)
		if err != nil {
			return err
		}
		t.Endpoints = names
	}
	if f.limit != "" && !t.Limit.Valid() {
		return usagef("invalid --limit %q: must be a number such as 10, or a percentage such as 10%%", f.limit)
	}
	return f.applyExpect(cmd, t)
}

func (f *whom) applyExpect(cmd *cobra.Command, t *client.NewTask) error {
	exactly := cmd.Flags().Changed("expect")
	atLeast, atMost := cmd.Flags().Changed("expect-min"), cmd.Flags().Changed("expect-max")
	if exactly && (atLeast || atMost) {
		return usagef("--expect excludes --expect-min and --expect-max")
	}
	var expect client.Expect
	switch {
	case exactly:
		expect.Min, expect.Max = &f.expect, &f.expect
	case f.yes != "" && f.yes != yesAny:
		n, err := strconv.Atoi(f.yes)
		if err != nil || n < 0 {
			return usagef("invalid --yes=%s: must be the number of endpoints, or no value", f.yes)
		}
		expect.Min, expect.Max = &n, &n
	}
	if atLeast {
		expect.Min = &f.expectMin
	}
	if atMost {
		expect.Max = &f.expectAtMax
	}
	if expect != (client.Expect{}) {
		t.Expect = &expect
	}
	return nil
}

// performers returns how many endpoints perform a type, in brackets, or nothing if
// that cannot be found out.
func performers(ctx context.Context, c *client.Client, taskType string) string {
	info, err := c.TaskType(ctx, taskType)
	if err != nil {
		return ""
	}
	n := fmt.Sprint(len(info.Endpoints))
	if info.Next != nil {
		n = "more than " + n
	}
	return fmt.Sprintf(" (%s endpoints perform %s)", n, taskType)
}

// names returns the endpoints that the values of --endpoint name, sorted. It is a
// wrong use if they are none.
func (r *run) names(values []string) ([]string, error) {
	var sets []string
	for _, value := range values {
		content := []byte(value)
		if value == "-" || strings.HasPrefix(value, "@") {
			var err error
			if content, err = r.input("--endpoint", value); err != nil {
				return nil, err
			}
		}
		for line := range bytes.Lines(content) {
			line, _, _ := strings.Cut(string(line), "#")
			if line = strings.Trim(line, " \t\r\n,"); line != "" {
				sets = append(sets, line)
			}
		}
	}
	names, err := nodeset.Unfold(strings.Join(sets, ","), maxNames)
	if err != nil {
		return nil, usagef("--endpoint: %v", err)
	}
	if len(names) == 0 {
		return nil, usagef("--endpoint: no endpoints: name at least one")
	}
	for _, name := range names {
		if err := tasker.ValidateEndpoint(name); err != nil {
			return nil, usagef("--endpoint: %v", err)
		}
	}
	return names, nil
}

// input returns the content of a file, which the value names as @file, or of stdin,
// as "-".
func (r *run) input(flag, value string) ([]byte, error) {
	in := r.Stdin
	if file, ok := strings.CutPrefix(value, "@"); ok {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("%s: %v", flag, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	if in == nil {
		return nil, nil
	}
	content, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, usagef("%s: %v", flag, err)
	}
	if len(content) > maxInput {
		return nil, usagef("%s: input too large: the limit is %d bytes", flag, maxInput)
	}
	return content, nil
}

// confirm asks whether a task shall be for so many endpoints, if they are many, or
// all: the user types their number. Without a terminal --yes must say so.
func (f *whom) confirm(ctx context.Context, r *run, what string, plan client.Plan) error {
	if f.yes != "" && f.yes != yesAny && f.yes != fmt.Sprint(plan.Count) {
		return usagef("nothing was started: --yes=%s, and %d endpoints are chosen", f.yes, plan.Count)
	}
	if plan.Deliver > 0 && plan.Deliver <= confirmOver || f.yes != "" || plan.Count < 2 || plan.Count <= confirmOver && !plan.All {
		return nil
	}
	const shown = 5
	names := text.Some(plan.Endpoints, shown)
	if !isTerminal(r.Stdin) || !isTerminal(r.Stderr) {
		return usagef("nothing was started: %q on %d endpoints (%s) needs --yes=%[2]d, or --yes for any number", what, plan.Count, names)
	}
	all := ""
	if plan.All {
		all = "all "
	}
	out := text.Lines(r.Stderr)
	_, _ = fmt.Fprintf(out, "%s on %s%d endpoints: %s\n", what, all, plan.Count, names)
	if len(plan.Silent) > 0 {
		_, _ = fmt.Fprintf(out, "%d of them are silent now: %s\n", len(plan.Silent), text.Some(plan.Silent, shown))
	}
	for _, warning := range plan.Warnings {
		_, _ = fmt.Fprintf(out, "warning: %s\n", warning)
	}
	_, _ = fmt.Fprintf(out, "Type %d to go on: ", plan.Count)
	answer, err := r.answer(ctx)
	if err != nil {
		return err
	}
	if answer != fmt.Sprint(plan.Count) {
		return usagef("nothing was started: %q is not %d", answer, plan.Count)
	}
	return nil
}

// answer returns the next line that the user types, without blanks around it; it is
// empty at the end of stdin.
func (r *run) answer(ctx context.Context) (string, error) {
	select {
	case line := <-r.typed():
		return strings.TrimSpace(line), nil
	case <-ctx.Done():
		return "", fmt.Errorf("nothing was started: %w", context.Cause(ctx))
	}
}
