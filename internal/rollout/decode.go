package rollout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/jsonx"
	"github.com/taskerhq/tasker/internal/x/near"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	maxEntries = 1000 // of a list in settings
	maxSeed    = 64   // characters
)

// The fields of the object, in the order of the documentation.
var fieldNames = []string{
	"batch", "max_concurrency", "ramp", "pause", "max_failures", "wave_max_failures", "unreached", "wave_timeout",
	"proceed_at", "on_halt", "approve", "splay", "skip_silent", "order", "seed",
}

// What values must be, for messages.
const (
	mustBeAmount = `a whole number from %d to 1000000, or a percentage from "1%%" to "100%%"`
	mustBePause  = `a duration that is not negative, such as "30s" or "15m"`
	mustBeLimit  = `a positive duration, such as "30s" or "15m"`
)

// labelKey is what the configuration of a manager allows.
var labelKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$`)

// Decode decodes and checks the object "rollout" of a POST, and fills in the
// defaults. null stands for an absent field. The error joins one [tasker.Error]
// for each broken rule; its Field is a pointer into the body of the POST, such
// as "/rollout/batch/2".
func Decode(object []byte) (Settings, error) {
	root := field{"rollout", "/rollout"}
	if !json.Valid(object) {
		return Settings{}, tasker.Errorf(tasker.Malformed, "invalid %s: not JSON", root.name)
	}
	if at, found := jsonx.Duplicate(object); found {
		return Settings{}, tasker.FieldErrorf(text.Shorten(root.pointer+at, 300), "duplicate member in %s: remove one", root.name)
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return Settings{}, tasker.Errorf(tasker.Malformed, "invalid %s: not JSON", root.name)
	}
	members, ok := value.(map[string]any)
	var d decoder
	if !ok {
		d.invalid(root, value, "an object with batch or max_concurrency")
		return Settings{}, d.err()
	}
	s := Settings{Unreached: CountUnreached, ProceedAt: 100, OnHalt: FinishRunning, OrderBy: OrderSeed}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		d.set(&s, root.member(name), name, members[name])
	}
	if len(d.errs) == 0 {
		d.checkTogether(s)
	}
	if err := d.err(); err != nil {
		return Settings{}, err
	}
	return s, nil
}

// field is a place in the body of a POST: as people write it and as a pointer.
type field struct{ name, pointer string }

func (f field) member(name string) field {
	name = text.Shorten(name, tasker.MaxName)
	return field{f.name + "." + name, f.pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)}
}

func (f field) entry(i int) field {
	return field{fmt.Sprintf("%s[%d]", f.name, i), f.pointer + "/" + strconv.Itoa(i)}
}

// of returns the field of the object with a known name.
func of(name string) field { return field{"rollout", "/rollout"}.member(name) }

// decoder gathers the broken rules.
type decoder struct{ errs []error }

func (d *decoder) err() error { return errors.Join(d.errs...) }

func (d *decoder) add(f field, format string, args ...any) {
	d.errs = append(d.errs, tasker.FieldErrorf(f.pointer, format, args...))
}

// invalid adds that the value is not what it must be.
func (d *decoder) invalid(f field, value any, must string) {
	d.add(f, "invalid %s %s: must be %s", f.name, shown(value), must)
}

// shown returns a decoded JSON value for a message.
func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return text.Shorten(v.String(), 32)
	case string:
		return strconv.Quote(text.Shorten(v, 64))
	case []any:
		return "(an array)"
	}
	return "(an object)"
}

// set decodes one member.
func (d *decoder) set(s *Settings, f field, name string, value any) {
	if value == nil && slices.Contains(fieldNames, name) {
		return
	}
	switch name {
	case "batch":
		d.batch(s, f, value)
	case "max_concurrency":
		s.MaxConcurrency = d.amount(f, value, 1)
	case "ramp":
		s.Ramp = d.flag(f, value)
	case "pause":
		s.Pause = d.duration(f, value, 0, mustBePause)
	case "max_failures":
		s.MaxFailures = d.amount(f, value, 0)
	case "wave_max_failures":
		limit := d.amount(f, value, 0)
		s.WaveMaxFailures = &limit
	case "unreached":
		s.Unreached = d.word(f, value, CountUnreached, IgnoreUnreached)
	case "wave_timeout":
		s.WaveTimeout = d.duration(f, value, 1, mustBeLimit)
	case "proceed_at":
		s.ProceedAt = d.percentage(f, value)
	case "on_halt":
		s.OnHalt = d.word(f, value, FinishRunning, CancelRunning)
	case "approve":
		s.Approve = d.approve(f, value)
	case "splay":
		s.Splay = d.duration(f, value, 0, mustBePause)
	case "skip_silent":
		s.SkipSilent = d.duration(f, value, 1, mustBeLimit)
	case "order":
		s.OrderBy = d.order(f, value)
	case "seed":
		s.Seed = d.seed(f, value)
	default:
		d.unknown(f, name)
	}
}

func (d *decoder) unknown(f field, name string) {
	if meant := near.Name(name, fieldNames); meant != "" {
		d.add(f, "unknown field %q: did you mean %q?", f.name, meant)
		return
	}
	d.add(f, "unknown field %q: use %s", f.name, strings.Join(fieldNames, ", "))
}

func (d *decoder) batch(s *Settings, f field, value any) {
	list, ok := value.([]any)
	switch {
	case !ok:
		s.Every = d.amount(f, value, 1)
	case len(list) == 0 || len(list) > maxEntries:
		d.add(f, "invalid %s: must have 1 to %d entries, not %d", f.name, maxEntries, len(list))
	default:
		s.Borders = d.borders(f, list)
	}
}

// borders decodes a list, which must rise: its numbers and its percentages do,
// each by themselves, since how they compare depends on the number of endpoints.
func (d *decoder) borders(f field, list []any) []Amount {
	borders := make([]Amount, 0, len(list))
	var before [2]Amount // the last number and the last percentage
	for i, value := range list {
		at := f.entry(i)
		b := d.amount(at, value, 1)
		if b.Value == 0 {
			continue // reported
		}
		kind := 0
		if b.Percent {
			kind = 1
		}
		switch last := before[kind]; {
		case before[1].Value == 100:
			d.add(at, `invalid %s %s: must not follow "100%%"`, at.name, shown(value))
		case b.Value <= last.Value:
			d.add(at, "invalid %s %s: waves are cumulative and must rise: more than %v", at.name, shown(value), last)
		case i == len(list)-1 && b.Percent && b.Value < 100:
			d.add(at, `invalid %s %s: the last must be "100%%"`, at.name, shown(value))
		}
		before[kind] = b
		borders = append(borders, b)
	}
	return borders
}

// amount decodes a number of at least the least, or a percentage. The zero value
// stands for an invalid one.
func (d *decoder) amount(f field, value any, least int) Amount {
	switch v := value.(type) {
	case json.Number:
		if n, err := strconv.Atoi(v.String()); err == nil && n >= least && n <= maxCount {
			return Amount{Value: n}
		}
	case string:
		if percent, ok := parsePercent(v); ok {
			return Amount{Value: percent, Percent: true}
		}
	}
	d.invalid(f, value, fmt.Sprintf(mustBeAmount, least))
	return Amount{}
}

func (d *decoder) percentage(f field, value any) int {
	if s, ok := value.(string); ok {
		if percent, ok := parsePercent(s); ok {
			return percent
		}
	}
	d.invalid(f, value, `a percentage from "1%" to "100%", since waves differ in size`)
	return 0
}

func (d *decoder) duration(f field, value any, least time.Duration, must string) time.Duration {
	if s, ok := value.(string); ok {
		if v, err := time.ParseDuration(s); err == nil && v >= least {
			return v
		}
	}
	d.invalid(f, value, must)
	return 0
}

func (d *decoder) flag(f field, value any) bool {
	b, ok := value.(bool)
	if !ok {
		d.invalid(f, value, "true or false")
	}
	return b
}

func (d *decoder) word(f field, value any, first, second string) string {
	s, _ := value.(string)
	if s != first && s != second {
		d.invalid(f, value, fmt.Sprintf("%q or %q", first, second))
	}
	return s
}

// approve decodes true, false or a list of waves, which must rise.
func (d *decoder) approve(f field, value any) Approve {
	switch v := value.(type) {
	case bool:
		return Approve{All: v}
	case []any:
		var a Approve
		if len(v) > maxEntries {
			d.add(f, "invalid %s: must have at most %d entries, not %d", f.name, maxEntries, len(v))
			return a
		}
		last := 0
		for i, entry := range v {
			number, _ := entry.(json.Number)
			wave, err := strconv.Atoi(number.String())
			if err != nil || wave <= last || wave > maxCount {
				d.invalid(f.entry(i), entry, fmt.Sprintf("the number of a wave, from 1 up, and more than the %d before", last))
				continue
			}
			last = wave
			a.Waves = append(a.Waves, wave)
		}
		return a
	}
	d.invalid(f, value, "true, false or a list of waves such as [2, 4]")
	return Approve{}
}

func (d *decoder) order(f field, value any) string {
	s, _ := value.(string)
	key, byLabel := strings.CutPrefix(s, OrderLabel)
	if s != OrderSeed && s != OrderName && (!byLabel || !labelKey.MatchString(key)) {
		d.invalid(f, value, `"seed", "name" or "label:KEY" such as "label:zone"`)
	}
	return s
}

func (d *decoder) seed(f field, value any) string {
	s, ok := value.(string)
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if !ok || utf8.RuneCountInString(s) > maxSeed || strings.ContainsFunc(s, hidden) {
		d.invalid(f, value, fmt.Sprintf("a string of at most %d printable characters", maxSeed))
	}
	return s
}

// checkTogether checks the rules on several fields.
func (d *decoder) checkTogether(s Settings) {
	batched := s.Borders != nil || s.Every.Value > 0
	switch {
	case !batched && !s.windowed():
		d.add(of("batch"), `missing rollout.batch: list the waves, such as [1, "10%%", "100%%"], or use rollout.max_concurrency`)
	case batched && s.windowed():
		d.add(of("max_concurrency"), "invalid rollout.max_concurrency: not together with rollout.batch: remove one")
	case s.windowed():
		d.checkWindow(s)
	default:
		d.checkApprove(s)
		if s.WaveTimeout > 0 && s.Splay >= s.WaveTimeout {
			d.add(of("splay"), "invalid rollout.splay %s: must be shorter than rollout.wave_timeout, %s", s.Splay, s.WaveTimeout)
		}
	}
	if s.Ramp && !s.windowed() {
		d.add(of("ramp"), "invalid rollout.ramp: needs rollout.max_concurrency")
	}
	if s.Seed != "" && !s.UsesSeed() {
		d.add(of("seed"), `invalid rollout.seed: has no effect if rollout.order is "name": remove one`)
	}
}

// checkWindow refuses what only waves have.
func (d *decoder) checkWindow(s Settings) {
	for _, only := range []struct {
		name string
		set  bool
	}{
		{"pause", s.Pause > 0},
		{"wave_max_failures", s.WaveMaxFailures != nil},
		{"wave_timeout", s.WaveTimeout > 0},
		{"proceed_at", s.ProceedAt != 100},
		{"approve", s.Approve.All || len(s.Approve.Waves) > 0},
		{"splay", s.Splay > 0},
	} {
		if only.set {
			f := of(only.name)
			d.add(f, "invalid %s: needs waves: use rollout.batch, not rollout.max_concurrency", f.name)
		}
	}
}

// checkApprove refuses waves that cannot exist, whatever the number of endpoints.
func (d *decoder) checkApprove(s Settings) {
	most := len(s.Borders)
	switch {
	case s.Every.Percent:
		most = (100 + s.Every.Value - 1) / s.Every.Value
	case s.Every.Value > 0:
		most = maxCount
	}
	for i, wave := range s.Approve.Waves {
		if wave > most {
			f := of("approve").entry(i)
			d.add(f, "invalid %s %d: rollout.batch has at most %d waves", f.name, wave, most)
		}
	}
}
