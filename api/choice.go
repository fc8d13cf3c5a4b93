package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/selector"
)

// choice is whom a task would be for.
type choice struct {
	names    []string // sorted, never nil
	chosen   int      // by the selectors, before the limit
	lacking  []client.LackingEndpoint
	silent   []string // those among names that are not alive
	warnings []string
}

// choose returns whom a task of a type would be for now: its listed endpoints, or
// those registered for the type that its selectors choose or, without selectors,
// that were seen recently. It returns an error if they are not as many as
// expected.
func (c *chooser) choose(ctx context.Context, taskType string, in *taskRequest) (choice, error) {
	found := choice{names: []string{}}
	if in.endpoints != nil {
		found.names, found.chosen = in.endpoints, len(in.endpoints)
		return found, found.check(taskType, in)
	}
	alive, labels, lacks := map[string]bool{}, map[string]bool{}, map[string]string{}
	var now time.Time
	for e, err := range c.candidates(ctx, tasker.EndpointQuery{TaskType: taskType, Recent: in.where.union == nil}) {
		if err != nil {
			return choice{}, err
		}
		if now.IsZero() {
			now = c.database.Now() // known since the endpoints were read
		}
		for key := range e.Labels {
			labels[key] = true
		}
		if in.where.union != nil {
			m := in.where.union.Match(selectable(&e), now)
			if !m.Matched {
				continue
			}
			if m.Lacks != "" {
				lacks[e.Name] = m.Lacks
			}
		}
		alive[e.Name] = e.Alive
		found.names = append(found.names, e.Name)
	}
	found.chosen = len(found.names)
	found.names = limited(found.names, in.where.limit, in.where.seed)
	for _, name := range found.names {
		if key, ok := lacks[name]; ok {
			found.lacking = append(found.lacking, client.LackingEndpoint{Endpoint: name, Key: key})
		}
		if !alive[name] {
			found.silent = append(found.silent, name)
		}
	}
	found.warn(in.where.union, slices.Sorted(maps.Keys(labels)))
	return found, found.check(taskType, in)
}

// warn adds a warning for each key of the selectors that no endpoint has.
func (c *choice) warn(u selector.Union, labels []string) {
	for _, s := range u {
		for _, w := range s.Check(labels) {
			if !slices.Contains(c.warnings, w.String()) {
				c.warnings = append(c.warnings, w.String())
			}
		}
	}
}

// check returns an error unless there are as many endpoints as expected: at least
// one if they were chosen, unless the request says otherwise.
func (c *choice) check(taskType string, in *taskRequest) error {
	field, least := "/expect/min", 0
	if in.where.frozen() {
		field, least = "/select", 1
		if in.where.union == nil {
			field = "/limit"
		}
	}
	if in.where.expect.Min != nil {
		field, least = "/expect/min", *in.where.expect.Min
	}
	n := len(c.names)
	switch most := in.where.expect.Max; {
	case n < least:
		return tasker.FieldErrorf(field, "expected at least %s, %s", countEndpoints(least), c.describe(taskType, in))
	case most != nil && n > *most:
		return tasker.FieldErrorf("/expect/max", "expected at most %s, %s", countEndpoints(*most), c.describe(taskType, in))
	case in.where.frozen() && n > maxEndpoints:
		return tasker.FieldErrorf("/select", "too many endpoints: %s; the limit is %d: create several tasks",
			c.describe(taskType, in), maxEndpoints)
	}
	return nil
}

// describe says how many endpoints there are, and what may be wrong.
func (c *choice) describe(taskType string, in *taskRequest) string {
	text := fmt.Sprintf("task type %q has %d", taskType, c.chosen)
	switch {
	case in.endpoints != nil:
		text = fmt.Sprintf("the task lists %d", c.chosen)
	case len(in.where.union) == 1:
		text = fmt.Sprintf("the selector chose %d", c.chosen)
	case len(in.where.union) > 1:
		text = fmt.Sprintf("the selectors chose %d", c.chosen)
	}
	if len(c.names) < c.chosen {
		text += fmt.Sprintf(" and the limit left %d", len(c.names))
	}
	if len(c.warnings) > 0 {
		text += ": " + strings.Join(c.warnings, "; ")
	}
	return text
}

func countEndpoints(n int) string {
	if n == 1 {
		return "1 endpoint"
	}
	return fmt.Sprintf("%d endpoints", n)
}

// limited returns the endpoints that a limit leaves, sorted: those with the least
// SHA-256 of the seed, a line end, and the name. So a higher limit with the same
// seed leaves the same ones and others.
func limited(names []string, limit tasker.Limit, seed string) []string {
	n := limit.Of(len(names))
	if n == len(names) {
		return names
	}
	hashes := make(map[string][32]byte, len(names))
	for _, name := range names {
		hashes[name] = sha256.Sum256([]byte(seed + "\n" + name))
	}
	byHash := func(a, b string) int {
		x, y := hashes[a], hashes[b]
		return cmp.Or(bytes.Compare(x[:], y[:]), strings.Compare(a, b))
	}
	return slices.Sorted(slices.Values(slices.SortedFunc(slices.Values(names), byHash)[:n]))
}

// silent returns those of the listed endpoints that are not alive.
func (c *chooser) silent(ctx context.Context, names []string) (silent []string, err error) {
	alive := map[string]bool{}
	for part := range slices.Chunk(names, candidatesPerRead) {
		found, err := c.endpoints.ListEndpoints(ctx, tasker.EndpointQuery{Names: part, Brief: true, Limit: len(part)})
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			alive[e.Name] = e.Alive
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return alive[name] }), nil
}
