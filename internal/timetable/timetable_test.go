package timetable

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskerhq/tasker"
)

// zones have every kind of change that there is from 2024 to 2037: by an hour and by
// half an hour, at midnight and in the night, by UTC and by local time, in winter
// instead of in summer, and for Ramadan.
var zones = []string{
	"Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Havana", "America/Santiago",
	"Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca", "Africa/Cairo", "Asia/Beirut", "Atlantic/Azores",
}

func load(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func parse(t testing.TB, spec Spec) *Table {
	t.Helper()
	table, err := Parse(spec, "backup", time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// firings returns the times, after one and before another.
func (t *Table) firings(after, before time.Time) (list []time.Time) {
	for next := t.Next(after); !next.IsZero() && next.Before(before); next = t.Next(next) {
		list = append(list, next)
	}
	return list
}

// TestDaylightSaving has what people see, in Berlin and elsewhere.
func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cron, zone, from, to string
		want                 string // in local time with its offset, separated by blanks
	}{
		// Spring: 02:00 is 03:00.
		{"30 2 * * *", "Europe/Berlin", "2027-03-27T00:00:00Z", "2027-03-29T12:00:00Z", "27T02:30+01 28T03:30+02 29T02:30+02"},
		{"0,30 2 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z", "28T03:00+02 28T03:30+02"},
		{"30 2,3 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z", "28T03:30+02"},
		{"0 3 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z", "28T03:00+02"},
		{"*/30 * * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T02:00:00Z", "28T01:30+01 28T03:00+02 28T03:30+02"},
		{"0 2-3 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z", "28T03:00+02"},
		{"0 2-3,5 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z", "28T03:00+02 28T05:00+02"},
		// Autumn: 02:00 comes twice.
		{"30 2 * * *", "Europe/Berlin", "2027-10-30T00:00:00Z", "2027-11-01T12:00:00Z", "30T02:30+02 31T02:30+02 01T02:30+01"},
		{"30 1 * * *", "Europe/Berlin", "2027-10-30T22:00:00Z", "2027-10-31T12:00:00Z", "31T01:30+02"},
		{"0 3 * * *", "Europe/Berlin", "2027-10-30T22:00:00Z", "2027-10-31T12:00:00Z", "31T03:00+01"},
		{"*/30 * * * *", "Europe/Berlin", "2027-10-30T23:59:00Z", "2027-10-31T02:01:00Z", "31T02:00+02 31T02:30+02 31T02:00+01 31T02:30+01 31T03:00+01"},
		{"0 2-3 * * *", "Europe/Berlin", "2027-10-30T22:00:00Z", "2027-10-31T12:00:00Z", "31T02:00+02 31T02:00+01 31T03:00+01"},
		{"0 */2 * * *", "Europe/Berlin", "2027-10-30T23:59:00Z", "2027-10-31T04:00:00Z", "31T02:00+02 31T02:00+01 31T04:00+01"},
		{"0 2/2 * * *", "Europe/Berlin", "2027-10-30T23:59:00Z", "2027-10-31T04:00:00Z", "31T02:00+02 31T02:00+01 31T04:00+01"},
		{"0 2,4 * * *", "Europe/Berlin", "2027-10-30T23:59:00Z", "2027-10-31T04:00:00Z", "31T02:00+02 31T04:00+01"},
		{"@hourly", "Europe/Berlin", "2027-10-30T23:59:00Z", "2027-10-31T01:01:00Z", "31T02:00+02 31T02:00+01"},
		{"@daily", "Europe/Berlin", "2027-10-30T00:00:00Z", "2027-11-01T12:00:00Z", "31T00:00+02 01T00:00+01"},
		// Half an hour at Lord Howe.
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-03T20:00:00Z", "04T02:45+11"},
		{"45 1 * * *", "Australia/Lord_Howe", "2027-04-03T10:00:00Z", "2027-04-03T20:00:00Z", "04T01:45+11"},
		{"*/15 * * * *", "Australia/Lord_Howe", "2027-04-03T14:29:00Z", "2027-04-03T15:31:00Z", "04T01:30+11 04T01:45+11 04T01:30+10:30 04T01:45+10:30 04T02:00+10:30"},
		// No midnight in Cairo, once a year.
		{"@daily", "Africa/Cairo", "2027-04-28T23:00:00Z", "2027-05-01T00:00:00Z", "30T01:00+03 01T00:00+03"},
		// No changes.
		{"30 2 * * *", "", "2027-03-27T00:00:00Z", "2027-03-28T12:00:00Z", "27T02:30Z 28T02:30Z"},
		{"30 2 * * *", "Asia/Tokyo", "2027-03-27T00:00:00Z", "2027-03-28T00:00:00Z", "28T02:30+09"},
		// cron's rule for days: either field, if both are given.
		{"0 0 1 * MON", "", "2026-05-30T00:00:00Z", "2026-06-16T00:00:00Z", "01T00:00Z 08T00:00Z 15T00:00Z"},
		{"0 0 * * 7", "", "2026-05-29T00:00:00Z", "2026-06-02T00:00:00Z", "31T00:00Z"},
		{"0 22-1 * * *", "", "2026-05-29T21:00:00Z", "2026-05-30T12:00:00Z", "29T22:00Z 29T23:00Z 30T00:00Z 30T01:00Z"},
		{"0 0 29 2 *", "", "2096-03-01T00:00:00Z", "2105-01-01T00:00:00Z", "29T00:00Z"},
	} {
		table := parse(t, Spec{Cron: test.cron, Zone: test.zone})
		var got []string
		for _, next := range table.firings(at(t, test.from), at(t, test.to)) {
			got = append(got, strings.TrimSuffix(next.In(table.Location()).Format("02T15:04Z07:00"), ":00"))
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s in %s from %s:\n got %s\nwant %s", test.cron, test.zone, test.from, text, test.want)
		}
	}
}

// expression is a cron expression, and the same in Go.
type expression struct {
	cron     string
	realTime bool
	matches  func(local time.Time) bool
}

var expressions = []expression{
	{"*/5 * * * *", true, func(l time.Time) bool { return l.Minute()%5 == 0 }},
	{"*/15 0-3 * * *", true, func(l time.Time) bool { return l.Minute()%15 == 0 && l.Hour() <= 3 }},
	{"20 */2 * * *", true, func(l time.Time) bool { return l.Minute() == 20 && l.Hour()%2 == 0 }},
	{"0,17,30,59 0,1,2,3,4,23 * * *", false, func(l time.Time) bool {
		return slices.Contains([]int{0, 17, 30, 59}, l.Minute()) && (l.Hour() <= 4 || l.Hour() == 23)
	}},
	{"*/10 2 * * *", false, func(l time.Time) bool { return l.Minute()%10 == 0 && l.Hour() == 2 }},
	{"30 0 * * SUN", false, func(l time.Time) bool { return l.Minute() == 30 && l.Hour() == 0 && l.Weekday() == time.Sunday }},
	{"*/20 1 25-31 * *", false, func(l time.Time) bool { return l.Minute()%20 == 0 && l.Hour() == 1 && l.Day() >= 25 }},
}

// change is a change of a zone's clocks.
type change struct {
	at            time.Time
	before, after time.Duration // offsets
}

// changes returns all changes of a zone's clocks from 2024 to 2037.
func changes(loc *time.Location) (list []change) {
	end := time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)
	for now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC); ; {
		_, next := now.In(loc).ZoneBounds()
		if next.IsZero() || next.After(end) {
			return list
		}
		if c := (change{next, offsetAt(loc, next.Add(-time.Second)), offsetAt(loc, next)}); c.before != c.after {
			list = append(list, c)
		}
		now = next
	}
}

func offsetAt(loc *time.Location, at time.Time) time.Duration {
	_, seconds := at.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}

// expected returns when an expression fires within a day of a change, by going
// through all local times, each in its meanings.
func (e expression) expected(c change) (list []time.Time) {
	const around = 24 * time.Hour
	from, to := c.at.UTC().Add(-around), c.at.UTC().Add(around)
	for local := from.Add(-around).Truncate(time.Minute); local.Before(to.Add(around)); local = local.Add(time.Minute) {
		if !e.matches(local) {
			continue
		}
		var real []time.Time // those at which the clocks show it, in order
		if early := local.Add(-c.before); early.Before(c.at) {
			real = append(real, early)
		}
		if late := local.Add(-c.after); !late.Before(c.at) {
			real = append(real, late)
		}
		switch {
		case e.realTime:
		case len(real) == 0:
			real = []time.Time{local.Add(-c.before)}
		default:
			real = real[:1]
		}
		for _, at := range real {
			if at.After(from) && at.Before(to) {
				list = append(list, at)
			}
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// TestAllChanges compares the tables with the rule, at every change of the clocks of
// twelve zones from 2024 to 2037.
func TestAllChanges(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, name := range zones {
		loc := load(t, name)
		all := changes(loc)
		for i, c := range all {
			near := func(other int) bool {
				return other >= 0 && other < len(all) && all[other].at.Sub(c.at).Abs() <= 72*time.Hour
			}
			if near(i-1) || near(i+1) {
				t.Fatalf("%s: two changes near %s", name, c.at)
			}
			for _, e := range expressions {
				table := parse(t, Spec{Cron: e.cron, Zone: name})
				got := table.firings(c.at.Add(-24*time.Hour), c.at.Add(24*time.Hour))
				if want := e.expected(c); !slices.EqualFunc(got, want, time.Time.Equal) {
					t.Errorf("%s in %s at %s:\n got %v\nwant %v", e.cron, name, c.at, got, want)
				}
				compared += len(got)
			}
		}
	}
	if compared < 10_000 {
		t.Errorf("only %d times were compared", compared)
	}
}

// TestNext holds for any table and time: the next time is later, is the first, does
// not depend on where one begins, and matches.
func TestNext(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := rapid.SampledFrom(expressions).Draw(t, "expression")
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		table, err := Parse(Spec{Cron: e.cron, Zone: name}, "backup", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		after := time.Unix(rapid.Int64Range(1704067200, 2145916800).Draw(t, "after"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		next := table.Next(after)
		if !next.After(after) || next.Nanosecond() != 0 || next.Second() != 0 || next.Location() != time.UTC {
			t.Fatalf("%s: after %s comes %s", e.cron, after, next)
		}
		between := after.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(after))-1).Draw(t, "between")))
		if again := table.Next(between); !again.Equal(next) {
			t.Fatalf("%s: after %s comes %s, but after %s, which is between, %s", e.cron, after, next, between, again)
		}
		local := next.In(table.Location())
		start, _ := local.ZoneBounds()
		moved := !e.realTime && next.Sub(start) < 2*time.Hour // by a gap
		if !e.matches(local) && !moved {
			t.Fatalf("%s: %s does not match", e.cron, local)
		}
	})
}

func TestEvery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(1, 1_000_000).Draw(t, "every")) * time.Second
		anchor := time.Unix(rapid.Int64Range(0, 2_000_000_000).Draw(t, "anchor"), 5)
		table, err := Parse(Spec{Every: every}, "", anchor)
		if err != nil {
			t.Fatal(err)
		}
		anchor = anchor.Truncate(time.Second)
		after := anchor.Add(time.Duration(rapid.Int64Range(-1e15, 1e18).Draw(t, "after")))
		next := table.Next(after)
		since := next.Sub(anchor)
		if since <= 0 || since%every != 0 || !next.After(after) || since > every && next.Add(-every).After(after) {
			t.Fatalf("every %s from %s: after %s comes %s", every, anchor, after, next)
		}
	})
}

func TestAt(t *testing.T) {
	t.Parallel()
	one, two := at(t, "2027-01-01T00:00:00Z"), at(t, "2028-01-01T00:00:00+02:00")
	table := parse(t, Spec{At: []time.Time{one, two}})
	if got := table.firings(time.Time{}, two.AddDate(1, 0, 0)); len(got) != 2 || !got[0].Equal(one) || !got[1].Equal(two) {
		t.Errorf("fires %v", got)
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	until := at(t, "2027-01-03T00:00:00Z")
	table := parse(t, Spec{Cron: "@daily", Until: &until})
	if got := table.firings(at(t, "2027-01-01T00:00:00Z"), until.AddDate(1, 0, 0)); len(got) != 2 || !got[1].Equal(until) {
		t.Errorf("fires %v", got)
	}
}

// TestHash spreads schedules, and is the same in every process.
func TestHash(t *testing.T) {
	t.Parallel()
	from := at(t, "2027-01-01T00:00:00Z")
	minutes := map[int]bool{}
	for i := range 50 {
		table, err := Parse(Spec{Cron: "H H(0-7) * * THU"}, fmt.Sprint("s", i), from)
		if err != nil {
			t.Fatal(err)
		}
		next := table.Next(from)
		if next.Hour() > 7 || next.Weekday() != time.Thursday {
			t.Errorf("s%d fires %s", i, next)
		}
		minutes[next.Minute()] = true
	}
	if len(minutes) < 15 {
		t.Errorf("50 schedules fire in only %d minutes", len(minutes))
	}
	const pinned = "2027-01-07T"
	table, err := Parse(Spec{Cron: "H H * * THU"}, "backup", from)
	if err != nil {
		t.Fatal(err)
	}
	if got := table.Next(from).Format(time.RFC3339); !strings.HasPrefix(got, pinned) {
		t.Errorf("fires %s, want %s...", got, pinned)
	}
}

func TestWrongInputs(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-05-06T01:14:24Z")
	past, soon := now.Add(-time.Hour), now.Add(time.Hour)
	for _, test := range []struct {
		spec        Spec
		field, text string
	}{
		{Spec{}, "/cron", "one of cron, every and at, not 0"},
		{Spec{Cron: "@daily", Every: time.Hour}, "/cron", "not 2"},
		{Spec{Cron: "TZ=0 * * * * *"}, "/cron", "use time_zone"},
		{Spec{Cron: "TZ="}, "/cron", "use time_zone"},
		{Spec{Cron: "CRON_TZ=UTC 0 0 * * *"}, "/cron", "use time_zone"},
		{Spec{Cron: " cron_tz=UTC 0 0 * * *"}, "/cron", "use time_zone"},
		{Spec{Cron: "0 0 30 2 *"}, "/cron", "never fires"},
		{Spec{Cron: "0 0 31 4,6 *"}, "/cron", "never fires"},
		{Spec{Cron: "* * * * * *"}, "/cron", "five fields"},
		{Spec{Cron: "* * * *"}, "/cron", "five fields"},
		{Spec{Cron: " "}, "/cron", "five fields"},
		{Spec{Cron: "60 * * * *"}, "/cron", "five fields"},
		{Spec{Cron: "* 24 * * *"}, "/cron", "five fields"},
		{Spec{Cron: "*/0 * * * *"}, "/cron", "five fields"},
		{Spec{Cron: ", * * * *"}, "/cron", "empty part"},
		{Spec{Cron: "0 1,,2 * * *"}, "/cron", "empty part"},
		{Spec{Cron: "x * * * *"}, "/cron", "five fields"},
		{Spec{Cron: "0 0 L * *"}, "/cron", "five fields"},
		{Spec{Cron: "0 0 * * FRI#3"}, "/cron", "five fields"},
		{Spec{Cron: "@every 1s"}, "/cron", `use "every"`},
		{Spec{Cron: "@every -1s"}, "/cron", `use "every"`},
		{Spec{Cron: "@reboot"}, "/cron", "@daily"},
		{Spec{Cron: strings.Repeat("1,", 200) + "1 * * * *"}, "/cron", "too long"},
		{Spec{Cron: "@daily", Zone: "Local"}, "/time_zone", "Europe/Berlin"},
		{Spec{Cron: "@daily", Zone: "Europe/Berlim"}, "/time_zone", "Europe/Berlim"},
		{Spec{Cron: "@daily", Zone: "../../etc/passwd"}, "/time_zone", "unknown"},
		{Spec{Every: 59 * time.Second}, "/every", "from 1m0s"},
		{Spec{Every: -time.Hour}, "/every", "from 1m0s"},
		{Spec{Every: 90500 * time.Millisecond}, "/every", "whole seconds"},
		{Spec{Every: 11 * 366 * 24 * time.Hour}, "/every", "10 years"},
		{Spec{At: []time.Time{}}, "/at", "never fires"},
		{Spec{At: []time.Time{past}}, "/at", "never fires"},
		{Spec{At: []time.Time{soon, soon.Add(time.Second)}}, "/at", "less than a minute apart"},
		{Spec{At: []time.Time{soon.Add(time.Millisecond)}}, "/at", "whole second"},
		{Spec{At: make([]time.Time, MaxAt+1)}, "/at", "too many"},
		{Spec{Cron: "@daily", Until: &past}, "/until", "never fires"},
		{Spec{Cron: "@yearly", Until: &soon}, "/until", "never fires"},
	} {
		_, err := Check(test.spec, "backup", now)
		coded, ok := err.(*tasker.Error) //nolint:errorlint // the type is the contract
		if !ok || coded.Code != tasker.Invalid || coded.Field != test.field || !strings.Contains(coded.Message, test.text) {
			t.Errorf("%+v: %v, want %q at %s", test.spec, err, test.text, test.field)
		}
	}
	if _, err := Parse(Spec{Cron: "H * * * *"}, "", now); err == nil || !strings.Contains(err.Error(), "needs the name") {
		t.Errorf("H without a name: %v", err)
	}
	if _, err := Parse(Spec{Cron: "0 0 * MAR THU"}, "", now); err != nil {
		t.Errorf("a day with an H: %v", err)
	}
}
