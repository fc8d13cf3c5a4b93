// Package timetable computes when a schedule fires.
//
// The parser of cron expressions is a library's; what it parses is only asked which
// local times match, on a calendar without time zones. When these local times are is
// decided here, by the rule of RFC 5545 for daylight saving time: a local time that
// does not exist is as much later as the clocks are put forward, and one that exists
// twice is the first. An hour field that repeats through the day follows real time
// instead: see [Table].
package timetable

import (
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a database of zones

	"github.com/netresearch/go-cron"

	"github.com/taskerhq/tasker"
)

const (
	// MinEvery is the shortest interval that people may ask for.
	MinEvery = time.Minute
	// MaxEvery is the longest one.
	MaxEvery = 10 * 366 * 24 * time.Hour
	// MaxAt bounds how many times a schedule lists.
	MaxAt = 1000
	// maxCron bounds an expression, in bytes.
	maxCron = 256
	// searchYears is how far the next match is searched: February 29 is missing for
	// eight years at most, around 2100.
	searchYears = 10
)

// Spec says when a schedule fires: one of Cron, Every and At.
type Spec struct {
	Cron  string        // five fields, or a name such as @daily
	Every time.Duration // 0 if it is not by interval
	At    []time.Time
	// Zone is the name of the IANA time zone in which Cron is read; empty means UTC.
	Zone string
	// Until is the last time that counts; nil for no end.
	Until *time.Time
}

// Table is a parsed [Spec]. It is immutable.
//
// If every part of a cron expression's hour field is *, a range, or has a step, the
// table follows real time: what it names fires whenever a clock on the
// wall shows it, also in an hour that comes twice, and what no clock shows does not
// fire. Otherwise each local time that it names fires once a day, as RFC 5545 says.
type Table struct {
	spec     *cron.SpecSchedule // nil unless by cron
	realTime bool
	zone     *time.Location
	every    time.Duration
	anchor   time.Time // of every
	at       []time.Time
	until    *time.Time
}

// Parse returns the table of a spec. name is what an H in the expression hashes. The
// intervals of Every count from anchor. The errors are [tasker.Invalid] and name the
// field, as in the body of a PUT. It does not check how short Every is: see [Check].
func Parse(spec Spec, name string, anchor time.Time) (*Table, error) {
	given := 0
	for _, is := range []bool{spec.Cron != "", spec.Every != 0, spec.At != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, tasker.FieldErrorf("/cron", "give one of cron, every and at, not %d", given)
	}
	t := &Table{every: spec.Every, anchor: anchor.UTC().Truncate(time.Second), at: spec.At, until: spec.Until}
	var err error
	if t.zone, err = zone(spec.Zone); err != nil {
		return nil, err
	}
	if spec.Cron != "" {
		if t.spec, t.realTime, err = parseCron(spec.Cron, name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Check returns an [tasker.Invalid] error with the field if a spec fires more than
// once a minute, or never after now, which is when its schedule would be created.
func Check(spec Spec, name string, now time.Time) (*Table, error) {
	t, err := Parse(spec, name, now)
	if err != nil {
		return nil, err
	}
	switch {
	case spec.Every != 0 && (spec.Every < MinEvery || spec.Every > MaxEvery || spec.Every%time.Second != 0):
		return nil, tasker.FieldErrorf("/every", "invalid every: must be whole seconds, from %s to 10 years", MinEvery)
	case len(spec.At) > MaxAt:
		return nil, tasker.FieldErrorf("/at", "too many times: %d, the limit is %d", len(spec.At), MaxAt)
	}
	for i, at := range spec.At {
		switch {
		case !at.Equal(at.Truncate(time.Second)):
			return nil, tasker.FieldErrorf("/at", "invalid at: %s is not a whole second", at.Format(time.RFC3339Nano))
		case i > 0 && at.Sub(spec.At[i-1]) < MinEvery:
			return nil, tasker.FieldErrorf("/at", "invalid at: %s and %s are less than a minute apart",
				spec.At[i-1].Format(time.RFC3339), at.Format(time.RFC3339))
		}
	}
	if t.Next(now).IsZero() {
		field := "/until"
		switch {
		case t.until != nil && !t.until.After(now):
		case spec.At != nil:
			field = "/at"
		case spec.Cron != "" && t.until == nil:
			field = "/cron"
		}
		return nil, tasker.FieldErrorf(field, "schedule never fires: there is no such time after %s", now.UTC().Format(time.RFC3339))
	}
	return t, nil
}

// zone returns the location of a name from the IANA database.
func zone(name string) (*time.Location, error) {
	// To time.LoadLocation this means the zone of the machine.
	if name == "Local" {
		return nil, tasker.FieldErrorf("/time_zone", `invalid time_zone "Local": give the name of a zone, such as "Europe/Berlin"`)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, tasker.FieldErrorf("/time_zone", `unknown time_zone %.64q: give the name of a zone, such as "Europe/Berlin"`, name)
	}
	return loc, nil
}

// parser reads five fields and names such as @daily.
var parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom | cron.Hash).
	WithMaxSearchYears(searchYears)

// parseCron parses an expression, and reports whether it follows real time.
func parseCron(text, name string) (spec *cron.SpecSchedule, realTime bool, err error) {
	const form = `give five fields, such as "30 2 * * 1-5", or a name such as "@daily"`
	invalid := func(format string, args ...any) error {
		return tasker.FieldErrorf("/cron", "invalid cron: "+format, args...)
	}
	switch upper := strings.ToUpper(text); {
	case len(text) > maxCron:
		return nil, false, invalid("%d bytes are too long: the limit is %d", len(text), maxCron)
	case strings.Contains(upper, "TZ="):
		return nil, false, invalid("a time zone does not belong into the expression: use time_zone")
	case strings.HasPrefix(strings.TrimSpace(text), "@every"):
		return nil, false, invalid(`@every is not accepted: use "every" instead of "cron"`)
	}
	for field := range strings.FieldsSeq(text) {
		for part := range strings.SplitSeq(field, ",") {
			switch {
			case part == "":
				return nil, false, invalid("%.64q has an empty part: %s", field, form)
			case part[0] == 'H' && name == "":
				return nil, false, invalid("H needs the name of the schedule")
			}
		}
	}
	parsed, err := parser.ParseWithHashKey(text, "schedule "+name)
	if err != nil {
		return nil, false, invalid("%s: %s", strings.ReplaceAll(err.Error(), "spec string", "expression"), form)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, false, invalid("unknown name %.64q: %s", text, form)
	}
	const numbers = 1<<60 - 1 // without the bit for *
	for _, field := range []uint64{spec.Minute, spec.Hour, spec.Dom, spec.Month, spec.Dow} {
		if field&numbers == 0 {
			return nil, false, invalid("a field matches nothing: %s", form)
		}
	}
	spec.Location = time.UTC // see Table.match
	if fields := strings.Fields(text); len(fields) > 1 {
		return spec, repeats(fields[1]), nil
	}
	return spec, text == "@hourly", nil
}

// repeats reports whether an hour field repeats through the day: each of its parts
// is *, a range, or has a step.
func repeats(hours string) bool {
	return !slices.ContainsFunc(strings.Split(hours, ","), func(part string) bool {
		if _, _, stepped := strings.Cut(part, "/"); stepped {
			return false
		}
		// H(1-5) is one hour out of them.
		return part != "*" && part != "?" && (part[0] == 'H' || !strings.Contains(part, "-"))
	})
}

// Location returns the time zone of the table.
func (t *Table) Location() *time.Location { return t.zone }

// Next returns the first time, in UTC, at which the table fires after another one;
// zero if there is none.
func (t *Table) Next(after time.Time) time.Time {
	var next time.Time
	switch {
	case t.spec != nil:
		next = t.match(after)
	case t.every > 0:
		next = t.anchor.Add(t.every)
		if passed := after.Sub(t.anchor); passed >= t.every {
			next = t.anchor.Add(passed/t.every*t.every + t.every)
		}
	default:
		for _, at := range t.at {
			if at.After(after) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if next.IsZero() || t.until != nil && next.After(*t.until) {
		return time.Time{}
	}
	return next.UTC()
}

// maxPeriods bounds the periods of a zone that are searched: zones change their
// clocks four times a year at most.
const maxPeriods = 4 * (searchYears + 1)

// match returns the first time after another one at which the expression matches;
// zero if there is none.
//
// It goes through the periods between two changes of the zone's clocks. Within one,
// local time is real time plus a constant.
func (t *Table) match(after time.Time) time.Time {
	from := after
	for range maxPeriods {
		p := periodOf(from.In(t.zone))
		if next, ok := t.matchIn(p, after); ok {
			return next
		}
		if p.end.IsZero() {
			break
		}
		from = p.end
	}
	return time.Time{}
}

// period is a period of a zone in which local time is real time plus offset.
type period struct {
	start, end time.Time     // zero if it has none
	offset     time.Duration // of local time from UTC
	before     time.Duration // the offset of the period before
}

func periodOf(local time.Time) period {
	start, end := local.ZoneBounds()
	_, seconds := local.Zone()
	p := period{start: start, end: end, offset: time.Duration(seconds) * time.Second}
	p.before = p.offset
	if !start.IsZero() {
		_, seconds = start.Add(-time.Nanosecond).Zone()
		p.before = time.Duration(seconds) * time.Second
	}
	return p
}

// matchIn returns the first match in a period after a time.
func (t *Table) matchIn(p period, after time.Time) (next time.Time, ok bool) {
	consider := func(candidate time.Time) {
		if candidate.After(after) && (!ok || candidate.Before(next)) {
			next, ok = candidate, true
		}
	}
	// Local times are written as if they were in UTC. The first one of the period
	// is included: matches come after the time that is given.
	begin := after
	if begin.Before(p.start) {
		begin = p.start.Add(-time.Second)
	}
	first := begin.UTC().Add(p.offset)
	gap := p.offset - p.before
	if !t.realTime && !p.start.IsZero() {
		if repeated := p.start.UTC().Add(p.before - time.Second); gap < 0 && first.Before(repeated) {
			first = repeated // these came before the clocks were put back
		}
		if gap > 0 {
			// Skipped local times are read with the offset from before the gap.
			skipped := p.start.UTC().Add(p.before - time.Second)
			if now := after.UTC().Add(p.before); skipped.Before(now) {
				skipped = now
			}
			if at := t.spec.Next(skipped); !at.IsZero() && at.Before(p.start.UTC().Add(p.offset)) {
				consider(at.Add(-p.before))
			}
		}
	}
	if at := t.spec.Next(first); !at.IsZero() {
		if found := at.Add(-p.offset); p.end.IsZero() || found.Before(p.end) {
			consider(found)
		}
	}
	return next, ok
}
