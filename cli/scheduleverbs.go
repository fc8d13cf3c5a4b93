package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func deleteScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a schedule",
		Long:    `Delete a schedule and what is known of its slots. Its tasks stay.`,
		Example: `  tasker schedules delete nightly`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, c, err := flags.schedule(cmd, args)
			if err != nil {
				return err
			}
			if err := c.DeleteSchedule(cmd.Context(), name, client.AnyVersion); err != nil {
				return err
			}
			return r.print(struct {
				Deleted string `json:"deleted"`
			}{name}, "deleted "+name+"\n")
		},
	}
}

func pauseScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "pause NAME",
		Short:   "Pause a schedule",
		Long:    `Pause a schedule: its slots pass, and do not fire later.`,
		Example: `  tasker schedules pause nightly --reason "moving the database"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := scheduleArgument(cmd, args)
			if err != nil {
				return err
			}
			if err := tasker.ValidateReason(reason); err != nil {
				return usagef("%v", err)
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			s, err := c.PauseSchedule(cmd.Context(), name, reason, tasker.ScheduleExpect{})
			if err != nil {
				return err
			}
			return r.print(s, scheduleText(s))
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people; kept while it is paused")
	return cmd
}

func resumeScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "resume NAME",
		Short:   "Resume a schedule that is paused",
		Long:    `Resume a schedule that is paused. What passed meanwhile does not fire: see backfill.`,
		Example: `  tasker schedules resume nightly`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, c, err := flags.schedule(cmd, args)
			if err != nil {
				return err
			}
			s, err := c.ResumeSchedule(cmd.Context(), name, tasker.ScheduleExpect{})
			if err != nil {
				return err
			}
			return r.print(s, scheduleText(s))
		},
	}
}

func triggerScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	var latest string
	cmd := &cobra.Command{
		Use:   "trigger NAME",
		Short: "Create a task of a schedule now",
		Long: `Create a task of a schedule now, besides its slots, also while it is paused or an
earlier task runs. The output names the task.

With --latest it is created only if the schedule has had no slot since, and was not
triggered: of two people who do so at the same moment one creates a task, and the
other one is told. "tasker schedules show" prints the latest slot.`,
		Example: `  tasker schedules trigger nightly
  tasker schedules trigger nightly --latest 2027-03-28T01:30:00Z`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := scheduleArgument(cmd, args)
			if err != nil {
				return err
			}
			var expect tasker.ScheduleExpect
			if cmd.Flags().Changed("latest") {
				expect.Latest = new(time.Time)
				if latest != client.NoTime {
					if *expect.Latest, err = time.Parse(time.RFC3339Nano, latest); err != nil {
						return usagef("invalid --latest %q: must be the time of a slot, such as 2027-03-28T01:30:00Z, or none", latest)
					}
				}
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			slot, err := c.TriggerSchedule(cmd.Context(), name, expect)
			if err != nil {
				return err
			}
			return r.print(slot, oneLine(slot.Type+"/"+slot.Identifier)+"\n")
		},
	}
	cmd.Flags().StringVar(&latest, "latest", "", "only if this `time` is that of the latest slot; none if there is none")
	return cmd
}

func backfillScheduleCommand(r *run, flags *apiFlags) *cobra.Command {
	var from, to string
	var dry bool
	cmd := &cobra.Command{
		Use:   "backfill NAME --from TIME --to TIME",
		Short: "Create the tasks of slots that have passed",
		Long: `Create the tasks of the slots from a time to another one, both included, that have
passed and did not fire: 100 at most. They start at once. With --dry-run they are only
listed. The same command again creates nothing twice.`,
		Example: `  tasker schedules backfill nightly --from 2027-03-01T00:00:00Z --to 2027-03-07T23:59:59Z --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := scheduleArgument(cmd, args)
			if err != nil {
				return err
			}
			var b client.Backfill
			for _, flag := range []struct {
				name, text string
				into       *time.Time
			}{{"from", from, &b.From}, {"to", to, &b.To}} {
				if *flag.into, err = time.Parse(time.RFC3339Nano, flag.text); err != nil {
					return usagef("invalid --%s %q: must be a time such as 2027-03-01T00:00:00Z", flag.name, flag.text)
				}
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			done, err := c.BackfillSchedule(cmd.Context(), name, b, dry)
			if err != nil {
				return err
			}
			return r.print(done, backfilledTable(done))
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the first `time`")
	cmd.Flags().StringVar(&to, "to", "", "the last `time`, not in the future")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only list the slots")
	return cmd
}

func backfilledTable(done client.Backfilled) string {
	if len(done.Slots) == 0 {
		return "no slots\n"
	}
	fires := "fired now"
	if done.DryRun {
		fires = "would fire"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, slot := range done.Slots {
		what := fires
		if slot.Fired {
			what = "had fired"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", slot.Time.Format(time.RFC3339), what, oneLine(slot.Identifier))
	}
	_ = table.Flush()
	return b.String()
}

func nextCommand(r *run, flags *apiFlags) *cobra.Command {
	var n int
	var s client.NewSchedule
	var name string
	cmd := &cobra.Command{
		Use:   "next NAME | next EXPRESSION",
		Short: "Show when a schedule fires, or would fire",
		Long: `Show the next slots of a schedule, in its time zone and in UTC, and where the clocks
change. Instead of a schedule's name a cron expression can be given, in quotes, or
--every: then the output says when a schedule with it would fire, and nothing is
stored.`,
		Example: `  tasker schedules next nightly
  tasker schedules next "0 2 * * 1" --time-zone Europe/Berlin -n 20
  tasker schedules next --every 90s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			expression := len(args) == 1 && strings.ContainsAny(args[0], " @*")
			switch {
			case len(args) == 1 == given("every") || len(args) > 1:
				return usagef("missing or extra argument: give the name of a schedule, a cron expression in quotes, or --every")
			case len(args) == 1 && !expression && (given("time-zone") || given("jitter") || given("name")):
				return usagef("%q is the name of a schedule, which has its own time zone and jitter: give a cron expression instead",
					args[0])
			case n < 1 || n > 100:
				return usagef("invalid -n %d: must be 1-100", n)
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			var slots []tasker.UpcomingSlot
			if len(args) == 1 && !expression {
				slots, err = c.UpcomingSlots(cmd.Context(), args[0], n)
			} else {
				s.Cron = strings.Join(args, "")
				slots, err = c.PreviewSchedule(cmd.Context(), name, s, n)
			}
			if err != nil {
				return err
			}
			return r.print(client.UpcomingSlots{Upcoming: append([]tasker.UpcomingSlot{}, slots...)}, upcomingTable(slots))
		},
	}
	cmd.Flags().IntVarP(&n, "number", "n", 10, "how many slots, at most 100")
	cmd.Flags().StringVar(&s.Every, "every", "", "instead of an expression: a `duration` such as 90s")
	cmd.Flags().StringVar(&s.TimeZone, "time-zone", "", "of the expression, such as Europe/Berlin; UTC if it is left out")
	cmd.Flags().StringVar(&s.Jitter, "jitter", "", "a `duration` by up to which tasks start later")
	cmd.Flags().StringVar(&name, "name", "", "of the schedule that is to be, for H and the jitter")
	return cmd
}
