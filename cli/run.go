package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/text"
)

// runFlags are the flags of "tasker run".
type runFlags struct {
	whom
	watchFlags
	rolloutFlags
	signFlags
	payload         string
	at, in, expires string
	plan            string
	priority        int
	topic           string
	supersede       bool
	labels          []string
	dryRun, detach  bool
}

// runHelp is the long help of "tasker run".
const runHelp = `Run a task at the endpoints that --all, --select or --endpoint says, and watch it
until it has ended. One of them is mandatory: nobody should run something
everywhere since a variable was empty. With --any one of these endpoints performs
it, whichever takes it first; --any alone means one of all.

The arguments are the members of the payload, an object. KEY=VALUE is text, or
what the schema of the task type says; KEY:=JSON is JSON. A key that the schema
does not name is an error. --payload gives the payload as a whole.

The identifier names the task for ever: the same command with the same identifier
is the same task, so it can be repeated safely. Without one, one is made. It is
printed before anything else: "tasker watch TYPE/IDENTIFIER" comes back to a task
that was left alone, "tasker cancel TYPE/IDENTIFIER" stops it.

A task for more than 10 endpoints, or for all, must be confirmed: on a terminal by
typing their number, elsewhere with --yes=N, or with --yes for any number. --dry-run
says whom a task would be for, with a digest; with it as --plan, the task is refused
if that is different now.

With --topic, of the tasks of a type with one topic an endpoint needs the newest
only: while an older one has not ended the task is refused, or with --supersede
replaces it where that has not begun.

With --sign the task is signed with a key of yours, so that endpoints which require
signatures perform it: with the key of your ssh-agent or, with =KEY, with that of a
file or with that fingerprint. The endpoints that --select chooses are listed then.

With Ctrl-C you can leave the task alone, or cancel it. The exit code says how it
went: see "tasker help exit-codes".`

func runCommand(r *run) *cobra.Command {
	f := &runFlags{}
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "run TYPE [IDENTIFIER] [KEY=VALUE | KEY:=JSON]...",
		Short: "Run a task, and watch it until it has ended",
		Long:  runHelp,
		Example: `  tasker run worker --all
  tasker run sleep nap-1 seconds=2.5 -e console1 -e console2
  tasker run app-update -S 'role=web,zone!=eu' --limit 10% --dry-run
  tasker run app-update upd-17 version=2.4 --endpoint @hosts.txt --yes=50 --detach
  tasker run app-update upd-17 version=2.4 -S role=web --rollout 1,10%,50%,100% --max-failures 2
  tasker run backup --all --in 30m --expires 1h --detach --yes
  tasker run app-update --all --yes --topic app-update --supersede
  tasker run deploy dep-7 version=2.4 -e web1 -e web2 --sign
  tasker run deploy dep-7 -S role=web --label ticket=CHG-7 --label customer=acme`,
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseRunArguments(args)
			if err == nil {
				err = f.check()
			}
			if err != nil {
				return err
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			return f.run(r, cmd, c, api, parsed)
		},
	}
	api = r.addAPIFlags(cmd)
	f.add(cmd)
	cmd.ValidArgsFunction = r.completeTypes(api)
	r.completeEndpoints(cmd, api)
	return withOutputs(cmd, outputText, outputJSON, outputLines)
}

func (f *runFlags) add(cmd *cobra.Command) {
	f.addTask(cmd)
	f.watchFlags.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say whom it would be for")
	flags.BoolVar(&f.detach, "detach", false, "do not watch it")
}

// addTask adds the flags that describe the task.
func (f *runFlags) addTask(cmd *cobra.Command) {
	f.whom.add(cmd)
	f.rolloutFlags.add(cmd)
	f.signFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.payload, "payload", "", "the payload: `JSON`, @file, or - for stdin")
	flags.StringVar(&f.at, "at", "", "start at this `time`, such as 2026-05-06T03:30:00+02:00 or \"2026-05-06 03:30\"")
	flags.StringVar(&f.in, "in", "", "start after this `duration`, such as 5m")
	flags.StringVar(&f.expires, "expires", "", "no endpoint begins it later: a `duration` after the start, or a time")
	flags.IntVar(&f.priority, "priority", 0, "from 0 to 9, which starts first where tasks wait; by default that of the type")
	flags.StringVar(&f.topic, "topic", "", "the `name` of what it is about: refuse it while an older task of that has not ended")
	flags.BoolVar(&f.supersede, "supersede", false, "with --topic: replace older tasks at the same endpoints where they have not begun")
	flags.StringArrayVar(&f.labels, "label", nil, "a label by which to find it, such as `ticket=CHG-7`; may be repeated")
	flags.StringVar(&f.plan, "plan", "", "refuse unless it is for the endpoints of this `digest` of --dry-run")
}

// task returns the task that flags and arguments describe.
func (f *runFlags) task(r *run, cmd *cobra.Command, c *client.Client, args runArguments) (t client.NewTask, err error) {
	ctx := cmd.Context()
	t = client.NewTask{Identifier: cmp.Or(args.identifier, ulid.Make().String()), In: f.in, Expires: f.expires, Plan: f.plan}
	if cmd.Flags().Changed("priority") {
		t.Priority = &f.priority
	}
	if err := f.applyLabels(&t); err != nil {
		return t, err
	}
	if err := f.apply(ctx, r, cmd, c, args.taskType, &t); err != nil {
		return t, err
	}
	if err := f.applyRollout(&t); err != nil {
		return t, err
	}
	if err := f.applyTopic(&t); err != nil {
		return t, err
	}
	if err := f.applyTime(&t); err != nil {
		return t, err
	}
	if err := f.applyPayload(ctx, r, c, args, &t); err != nil {
		return t, err
	}
	if f.signs() {
		err = f.settle(ctx, c, args.taskType, &t)
	}
	return t, err
}

// run runs a task.
func (f *runFlags) run(r *run, cmd *cobra.Command, c *client.Client, api *apiFlags, args runArguments) error {
	ctx := cmd.Context()
	t, err := f.task(r, cmd, c, args)
	if err != nil {
		return err
	}
	plan, err := c.PlanTask(ctx, args.taskType, t)
	if err != nil {
		return refused(err)
	}
	if f.dryRun {
		if r.output == outputLines {
			return r.printLine("plan", map[string]any{"plan": plan})
		}
		return r.print(plan, planText(plan))
	}
	if !plan.Exists {
		if err := f.confirm(ctx, r, "run "+args.taskType, plan); err != nil {
			return err
		}
		if plan.StartTime == nil && t.Plan == "" && f.yes == "" {
			t.Plan = plan.Plan // what was confirmed, and nothing else
		}
	}
	if f.signs() {
		if err := f.sign(r, args.taskType, &t); err != nil {
			return err
		}
	}
	task, created, err := c.CreateTask(ctx, args.taskType, t)
	if err != nil {
		return createError(r.Name, args.taskType, t.Identifier, err)
	}
	name := task.Type + "/" + task.Identifier
	if f.signs() && task.Signature == nil {
		return usagef("%s exists already, and nobody signed it: run it with another identifier", name)
	}
	r.remember(api, name)
	if err := r.printAccepted(name, &task, plan, created, f.detach); err != nil {
		return err
	}
	if f.detach {
		return nil
	}
	return newWatching(r, cmd, c, task.Type, task.Identifier, f.watchFlags).watch(ctx)
}

// applyTopic puts the topic into the task.
func (f *runFlags) applyTopic(t *client.NewTask) error {
	if f.supersede && f.topic == "" {
		return usagef("missing flag: --supersede needs --topic, such as --topic app-update")
	}
	t.Topic = f.topic
	if f.supersede {
		t.OnConflict = tasker.ConflictSupersede
	}
	return nil
}

// applyLabels puts the labels into it.
func (f *runFlags) applyLabels(t *client.NewTask) error {
	for _, label := range f.labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok {
			return usagef("invalid --label %q: must be a key and a value such as ticket=CHG-7", label)
		}
		if _, twice := t.Labels[key]; twice {
			return usagef("duplicate --label %q: give each key once", key)
		}
		if t.Labels == nil {
			t.Labels = map[string]string{}
		}
		t.Labels[key] = value
	}
	return nil
}

// applyTime puts when the task starts into it.
func (f *runFlags) applyTime(t *client.NewTask) error {
	if f.at != "" && f.in != "" {
		return usagef("--at and --in exclude each other")
	}
	if f.in != "" {
		if d, ok := clock.Parse(f.in); !ok || d < 0 {
			return usagef("invalid --in %q: must be a duration such as 5m", f.in)
		}
	}
	if f.at == "" {
		return nil
	}
	at, err := parseTime(f.at)
	if err != nil {
		return usagef("invalid --at %q: must be a time such as 2026-05-06T03:30:00+02:00, or \"2026-05-06 03:30\" in the local zone", f.at)
	}
	t.StartTime = &at
	return nil
}

// parseTime parses a time with its zone, or one of the local zone.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Parse(time.RFC3339Nano, s)
}

// applyPayload puts the payload into the task.
func (f *runFlags) applyPayload(ctx context.Context, r *run, c *client.Client, args runArguments, t *client.NewTask) error {
	if f.payload != "" {
		if len(args.pairs) > 0 {
			return usagef("--payload and arguments exclude each other")
		}
		content := []byte(f.payload)
		if f.payload == "-" || strings.HasPrefix(f.payload, "@") {
			var err error
			if content, err = r.input("--payload", f.payload); err != nil {
				return err
			}
		}
		if !json.Valid(content) {
			return usagef("invalid --payload: must be JSON, such as {\"seconds\":2}, @file, or - for stdin")
		}
		t.Payload = json.RawMessage(content)
		return nil
	}
	if len(args.pairs) == 0 {
		return nil
	}
	info, err := c.TaskType(ctx, args.taskType)
	if err != nil {
		return refused(err)
	}
	payload, err := args.payload(info.Schema)
	if err != nil {
		return err
	}
	t.Payload = payload
	return nil
}

// refused makes a wrong use of the error of a task that the API refused: nothing was
// started.
func refused(err error) error {
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.Malformed, tasker.NotFound, tasker.Conflict, tasker.TooLarge, tasker.Unauthorized,
		tasker.Forbidden:
	default:
		return err
	}
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || len(p.Errors) == 0 {
		return usagef("%v", err)
	}
	var rules []string
	for _, e := range p.Errors {
		rule := e.Message
		if strings.HasPrefix(e.Field, "/payload/") { // the others say what they are about
			rule = e.Field + ": " + rule
		}
		rules = append(rules, rule)
	}
	return usagef("%s", strings.Join(rules, "\n"))
}

// createError returns the error of a task that may have been created.
func createError(program, taskType, identifier string, err error) error {
	if e := refused(err); exitCode(e) == ExitUsage {
		return e
	}
	return fmt.Errorf("%w\nwhether the task was accepted is unknown: the same command with the identifier %s repeats it safely, "+
		"and \"%s show %s/%[2]s\" looks for it", err, identifier, program, taskType)
}

// printAccepted says that the API has the task, before anything is waited for: then
// the user knows what to watch if this program is killed.
func (r *run) printAccepted(name string, task *tasker.Task, plan client.Plan, created, detach bool) error {
	whom := endpoints(plan.Count)
	if task.Deliver > 0 {
		whom = fmt.Sprintf("any %d of %s", task.Deliver, whom)
	}
	what := "sent to " + whom
	switch {
	case !created:
		what = "exists already"
	case task.Status == tasker.Scheduled:
		what = "starts at " + task.StartTime.Format(time.RFC3339)
	case task.Rollout != nil && len(task.Rollout.Waves) > 0:
		what = fmt.Sprintf("goes to %s in %d waves", endpoints(plan.Count), len(task.Rollout.Waves))
	case task.Status == tasker.Created:
		what = "accepted for " + whom + ": it is sent once the broker can be reached"
	}
	line := name + " " + what + "\n"
	switch {
	case r.output == outputLines:
		return r.printLine("accepted", map[string]any{
			"task": name, "type": task.Type, "identifier": task.Identifier, "status": task.Status, "created": created,
			"endpoints": plan.Count,
		})
	case r.output == outputJSON && detach:
		return r.print(task, "")
	case r.output == outputJSON:
		_, _ = fmt.Fprint(text.Lines(r.Stderr), line) // stdout is one document, the task's at its end
		return nil
	}
	return r.print(nil, line)
}

// endpoints returns a number of endpoints.
func endpoints(n int) string {
	if n == 1 {
		return "1 endpoint"
	}
	return fmt.Sprintf("%d endpoints", n)
}

// planText returns a plan for people.
func planText(p client.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s would be for ", p.Type)
	if p.Deliver > 0 {
		fmt.Fprintf(&b, "any %d of ", p.Deliver)
	}
	b.WriteString(endpoints(p.Count))
	if p.Chosen > p.Count {
		fmt.Fprintf(&b, " of the %d that are chosen", p.Chosen)
	}
	if p.All {
		b.WriteString(", and those that register for it later")
	}
	b.WriteByte('\n')
	if p.Exists {
		b.WriteString("it exists already: nothing would be done\n")
	}
	if p.StartTime != nil {
		fmt.Fprintf(&b, "it would start at %s, for those that are chosen then\n", p.StartTime.Format(time.RFC3339))
	}
	b.WriteString(wavesText(p.Rollout))
	for _, set := range []struct {
		name  string
		names []string
	}{{"endpoints", p.Endpoints}, {"silent now", p.Silent}, {"lack the label", lackingNames(p.Lacking)}} {
		if len(set.names) > 0 {
			fmt.Fprintf(&b, "%s: %d (%s)\n", set.name, len(set.names), folded(set.names))
		}
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", warning)
	}
	fmt.Fprintf(&b, "plan: %s\n", p.Plan)
	return b.String()
}

func lackingNames(lacking []client.LackingEndpoint) (names []string) {
	for _, l := range lacking {
		names = append(names, l.Endpoint)
	}
	return names
}
