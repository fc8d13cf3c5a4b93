// Package choice chooses the endpoints of a task: when the API accepts it or, if it
// is to start later, when it starts.
package choice

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/selector"
)

// MaxEndpoints bounds the endpoints that one task lists, or that are chosen for it.
const MaxEndpoints = 10_000

// perRead is how many endpoints are read at once to choose among them.
const perRead = 1000

// Endpoints are the registered endpoints.
type Endpoints interface {
	// ListEndpoints returns one page, by name.
	ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error)
}

// Clock is the database's clock; it is known once the endpoints were read.
type Clock interface{ Now() time.Time }

// Chooser chooses among the registered endpoints.
type Chooser struct {
	Endpoints Endpoints
	Clock     Clock
}

// Request is for whom a task is to be.
type Request struct {
	Type   string
	Listed []string       // sorted; nil if the task lists none
	Union  selector.Union // nil if there are no selectors
	Limit  tasker.Limit
	Seed   string
	Expect tasker.Expect
	Freeze bool // it is for the chosen endpoints alone, even if nothing chooses among them
}

// RequestOf returns the request of a stored task that is not started yet.
func RequestOf(t *tasker.Task) (Request, error) {
	r := Request{Type: t.Type, Listed: t.Endpoints, Limit: t.Limit, Seed: t.Seed, Freeze: t.Rollout != nil}
	if t.Expect != nil {
		r.Expect = *t.Expect
	}
	var err error
	if len(t.Select) > 0 {
		r.Union, err = selector.ParseUnion(t.Select)
	}
	return r, err
}

// Frozen reports whether the task is for the chosen endpoints alone, and not for
// those that register for its type later.
func (r *Request) Frozen() bool { return r.Union != nil || r.Limit != "" || r.Freeze }

// Choice is whom a task would be for.
type Choice struct {
	Names    []string // sorted, never nil
	Chosen   int      // by the selectors, before the limit
	Lacking  []Lacking
	Silent   []string // those among Names that are not alive
	Warnings []string
}

// Lacking is an endpoint that is chosen only since it lacks the label with a key.
type Lacking struct{ Endpoint, Key string }

// Choose returns whom a task would be for now: its listed endpoints, or those
// registered for the type that its selectors choose or, without selectors, that
// were seen recently. The error is [tasker.Invalid] if they are not as many as
// expected.
func (c Chooser) Choose(ctx context.Context, r Request) (Choice, error) {
	found := Choice{Names: []string{}}
	if r.Listed != nil {
		found.Names, found.Chosen = r.Listed, len(r.Listed)
		return found, found.check(r)
	}
	alive, labels, lacks := map[string]bool{}, map[string]bool{}, map[string]string{}
	var now time.Time
	for e, err := range c.candidates(ctx, tasker.EndpointQuery{TaskType: r.Type, Recent: r.Union == nil}) {
		if err != nil {
			return Choice{}, err
		}
		if now.IsZero() {
			now = c.Clock.Now()
		}
		for key := range e.Labels {
			labels[key] = true
		}
		if r.Union != nil {
			m := r.Union.Match(Selectable(&e), now)
			if !m.Matched {
				continue
			}
			if m.Lacks != "" {
				lacks[e.Name] = m.Lacks
			}
		}
		alive[e.Name] = e.Alive
		found.Names = append(found.Names, e.Name)
	}
	found.Chosen = len(found.Names)
	found.Names = limited(found.Names, r.Limit, r.Seed)
	for _, name := range found.Names {
		if key, ok := lacks[name]; ok {
			found.Lacking = append(found.Lacking, Lacking{Endpoint: name, Key: key})
		}
		if !alive[name] {
			found.Silent = append(found.Silent, name)
		}
	}
	found.warn(r.Union, slices.Sorted(maps.Keys(labels)))
	return found, found.check(r)
}

// candidates returns the endpoints of a query, briefly, by name, whatever its
// limit. It ends after an error.
func (c Chooser) candidates(ctx context.Context, q tasker.EndpointQuery) iter.Seq2[tasker.Endpoint, error] {
	q.Brief, q.Limit = true, perRead
	return func(yield func(tasker.Endpoint, error) bool) {
		for {
			page, err := c.Endpoints.ListEndpoints(ctx, q)
			if err != nil {
				yield(tasker.Endpoint{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if len(page) < q.Limit {
				return
			}
			q.After = page[len(page)-1].Name
		}
	}
}

// Names returns the names of the first endpoints of a query, up to its limit,
// that a union chooses and, if more follow, the last of these names.
func (c Chooser) Names(ctx context.Context, q tasker.EndpointQuery, u selector.Union) (names []string, last string, err error) {
	var now time.Time
	for e, err := range c.candidates(ctx, q) {
		if now.IsZero() && err == nil {
			now = c.Clock.Now()
		}
		switch {
		case err != nil:
			return nil, "", err
		case !u.Match(Selectable(&e), now).Matched:
		case len(names) == q.Limit:
			return names, names[len(names)-1], nil
		default:
			names = append(names, e.Name)
		}
	}
	return names, "", nil
}

// Silent returns those of the listed endpoints that are not alive.
func (c Chooser) Silent(ctx context.Context, names []string) (silent []string, err error) {
	alive := map[string]bool{}
	for part := range slices.Chunk(names, perRead) {
		found, err := c.Endpoints.ListEndpoints(ctx, tasker.EndpointQuery{Names: part, Brief: true, Limit: len(part)})
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			alive[e.Name] = e.Alive
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return alive[name] }), nil
}

// Selectable returns an endpoint as a selector sees it.
func Selectable(e *tasker.Endpoint) selector.Endpoint {
	return selector.Endpoint{
		Name: e.Name, Labels: e.Labels, Types: e.TaskTypes, Version: e.Version, LastSeen: e.LastSeen, Drained: e.Drain != nil,
	}
}

// warn adds a warning for each key of the selectors that no endpoint has.
func (c *Choice) warn(u selector.Union, labels []string) {
	for _, s := range u {
		for _, w := range s.Check(labels) {
			if !slices.Contains(c.Warnings, w.String()) {
				c.Warnings = append(c.Warnings, w.String())
			}
		}
	}
}

// check returns an error unless there are as many endpoints as expected: at least
// one if they were chosen, unless the request says otherwise.
func (c *Choice) check(r Request) error {
	field, least := "/expect/min", 0
	if r.Frozen() {
		field, least = "/select", 1
		switch {
		case r.Union != nil:
		case r.Limit != "":
			field = "/limit"
		default:
			field = "/rollout"
		}
	}
	if r.Expect.Min != nil {
		field, least = "/expect/min", *r.Expect.Min
	}
	n := len(c.Names)
	switch most := r.Expect.Max; {
	case n < least:
		return tasker.FieldErrorf(field, "expected at least %s, %s", count(least), c.describe(r))
	case most != nil && n > *most:
		return tasker.FieldErrorf("/expect/max", "expected at most %s, %s", count(*most), c.describe(r))
	case r.Frozen() && n > MaxEndpoints:
		return tasker.FieldErrorf("/select", "too many endpoints: %s; the limit is %d: create several tasks", c.describe(r), MaxEndpoints)
	}
	return nil
}

// describe says how many endpoints there are, and what may be wrong.
func (c *Choice) describe(r Request) string {
	text := fmt.Sprintf("task type %q has %d", r.Type, c.Chosen)
	switch {
	case r.Listed != nil:
		text = fmt.Sprintf("the task lists %d", c.Chosen)
	case len(r.Union) == 1:
		text = fmt.Sprintf("the selector chose %d", c.Chosen)
	case len(r.Union) > 1:
		text = fmt.Sprintf("the selectors chose %d", c.Chosen)
	}
	if len(c.Names) < c.Chosen {
		text += fmt.Sprintf(" and the limit left %d", len(c.Names))
	}
	if len(c.Warnings) > 0 {
		text += ": " + strings.Join(c.Warnings, "; ")
	}
	return text
}

func count(n int) string {
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

// Digest returns the digest of what a task would do where: of lines with the type,
// the SHA-256 of the payload in hexadecimal, and each endpoint's name, sorted; and the
// settings of its rollout, if it has one, or the number of its places.
func Digest(task *tasker.Task, names []string) string {
	payload := sha256.Sum256(task.Payload)
	lines := append([]string{task.Type, hex.EncodeToString(payload[:])}, names...)
	if task.Rollout != nil {
		lines = append(lines, string(task.Rollout.Settings))
	}
	if task.Deliver > 0 {
		lines = append(lines, fmt.Sprintf("deliver %d", task.Deliver))
	}
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n") + "\n"))
	return "sha256:" + hex.EncodeToString(sum[:])
}
