package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func schedulesCommand(r *run) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedules",
		Short: "List, store and control schedules: tasks at recurring times",
		Long: `At each of its slots a schedule creates a task, whose identifier is the name of the
schedule and the slot, such as backup-20270328T013000Z. These commands use the API at
--api, with the token in --token-file; with --dev, that of "tasker dev".`,
		Example: `  tasker schedules list
  tasker schedules put nightly --file nightly.json
  tasker schedules next "30 2 * * 1-5" --time-zone Europe/Berlin
  tasker schedules pause nightly --reason "moving the database"`,
		Args: r.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	flags := r.addAPIFlags(cmd)
	cmd.AddCommand(
		listSchedulesCommand(r, flags), showScheduleCommand(r, flags), putScheduleCommand(r, flags), deleteScheduleCommand(r, flags),
		pauseScheduleCommand(r, flags), resumeScheduleCommand(r, flags), triggerScheduleCommand(r, flags),
		backfillScheduleCommand(r, flags), nextCommand(r, flags),
	)
	return cmd
}

// scheduleArgument returns the name that the only argument is.
func scheduleArgument(cmd *cobra.Command, args []string) (string, error) {
	if len(args) != 1 {
		path := cmd.CommandPath()
		return "", usagef("missing or extra argument: %s takes the name of one schedule (see %s --help)", path, path)
	}
	if err := tasker.ValidateScheduleName(args[0]); err != nil {
		return "", usagef("%v", err)
	}
	return args[0], nil
}

func listSchedulesCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the schedules",
		Long:    `List the schedules, with their next slots.`,
		Example: `  tasker schedules list`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			list := []tasker.Schedule{}
			for s, err := range c.Schedules(cmd.Context()) {
				if err != nil {
					return err
				}
				list = append(list, s)
			}
			return r.print(struct {
				Schedules []tasker.Schedule `json:"schedules"`
			}{list}, schedulesTable(list))
		},
	}
}

func schedulesTable(list []tasker.Schedule) string {
	if len(list) == 0 {
		return "no schedules\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tWHEN\tTIME ZONE\tNEXT\tSTATE")
	for i := range list {
		s := &list[i]
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", oneLine(s.Name), oneLine(whenOf(s.Definition)), oneLine(s.Definition.TimeZone),
			timeCell(s.NextTime), stateOf(s))
	}
	_ = table.Flush()
	return b.String()
}

// whenOf says when a schedule fires.
func whenOf(d tasker.ScheduleDefinition) string {
	switch {
	case d.Cron != "":
		return d.Cron
	case d.Every != "":
		return "every " + d.Every
	}
	return fmt.Sprintf("%d times", len(d.At))
}

func stateOf(s *tasker.Schedule) string {
	switch {
	case s.Pause != nil:
		return "paused"
	case s.NextTime == nil:
		return "ended"
	case s.QueuedTime != nil:
		return "waits"
	}
	return "active"
}

func timeCell(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func showScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a schedule with its next and its last slots",
		Long: `Show a schedule, its next slots in its time zone and in UTC, and its last slots: those
that fired with their tasks, the others with the reason.`,
		Example: `  tasker schedules show nightly
  tasker schedules show nightly --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, c, err := flags.schedule(cmd, args)
			if err != nil {
				return err
			}
			s, err := c.Schedule(cmd.Context(), name)
			if err != nil {
				return err
			}
			return r.print(s, scheduleText(s))
		},
	}
}

// schedule returns the name of the schedule that the only argument is, and a client.
func (f *apiFlags) schedule(cmd *cobra.Command, args []string) (name string, c *client.Client, err error) {
	if name, err = scheduleArgument(cmd, args); err != nil {
		return "", nil, err
	}
	c, err = f.client(cmd)
	return name, c, err
}

// scheduleText returns a schedule for people.
func scheduleText(s client.ScheduleAnswer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s, version %d\n", oneLine(s.Name), oneLine(whenOf(s.Definition)), stateOf(&s.Schedule), s.Version)
	if s.Pause != nil {
		fmt.Fprintf(&b, "paused by %s at %s: %s\n", oneLine(s.Pause.By), s.Pause.At.Format(time.RFC3339), oneLine(s.Pause.Reason))
	}
	fmt.Fprintf(&b, "task: %s\n", oneLine(string(s.Definition.Task)))
	b.WriteString(upcomingTable(s.Upcoming))
	if len(s.Slots) == 0 {
		return b.String()
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nSLOT\tOUTCOME\tTASK OR REASON")
	for _, slot := range s.Slots {
		what := slot.Reason
		if slot.Identifier != "" {
			what = slot.Type + "/" + slot.Identifier
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", slot.Time.Format(time.RFC3339Nano), oneLine(string(slot.Outcome)), oneLine(what))
	}
	_ = table.Flush()
	return b.String()
}

func upcomingTable(slots []tasker.UpcomingSlot) string {
	if len(slots) == 0 {
		return "no more slots\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NEXT, LOCAL\tUTC\tSTARTS\tCLOCK CHANGE")
	for _, slot := range slots {
		change := slot.ClockChange
		if change == "" {
			change = "-"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", slot.Local.Format(time.RFC3339), slot.Time.UTC().Format(time.RFC3339),
			slot.StartTime.UTC().Format(time.RFC3339), oneLine(change))
	}
	_ = table.Flush()
	return b.String()
}

// maxScheduleFile bounds a file with a schedule.
const maxScheduleFile = 16 << 20

// readSchedule reads a schedule from a file, or from stdin if that is "-". Its members
// are checked by the API.
func readSchedule(file string, stdin io.Reader) (s client.NewSchedule, err error) {
	in := stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return s, usagef("--file: %v", err)
		}
		defer func() { _ = opened.Close() }()
		in = opened
	}
	dec := json.NewDecoder(io.LimitReader(in, maxScheduleFile))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, usagef("--file: invalid schedule: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return s, usagef("--file: invalid schedule: trailing data after the JSON object")
	}
	return s, nil
}

func putScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	var file string
	version := client.AnyVersion
	cmd := &cobra.Command{
		Use:   "put NAME --file FILE",
		Short: "Create or replace a schedule",
		Long: `Create a schedule from a file with JSON, or replace it. The same again changes nothing.
With --version it is replaced only if nobody else has changed it since: 0 is that of no
schedule yet, and "tasker schedules show" prints that of another one.

The file has one of cron, every and at, and the task: the body of a POST, with its type.`,
		Example: `  echo '{"cron":"30 2 * * 1-5","time_zone":"Europe/Berlin","task":{"type":"backup"}}' |
    tasker schedules put nightly --file -
  tasker schedules put nightly --file nightly.json --version 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := scheduleArgument(cmd, args)
			if err != nil {
				return err
			}
			if file == "" {
				return usagef("missing --file: name the file with the schedule, or - for stdin")
			}
			s, err := readSchedule(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			answer, created, err := c.PutSchedule(cmd.Context(), name, s, version)
			if err != nil {
				return err
			}
			verb := "stored "
			if created {
				verb = "created "
			}
			return r.print(answer, verb+scheduleText(answer))
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` with the schedule as JSON; - for stdin")
	cmd.Flags().Int64Var(&version, "version", version, "the version to be replaced, 0 for none; -1 for any")
	return cmd
}
