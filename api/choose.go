package api

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/selector"
)

// candidatesPerRead is how many endpoints are read at once to select among them.
const candidatesPerRead = 1000

// chooser chooses endpoints with selectors.
type chooser struct {
	endpoints EndpointStore
	database  Database
}

// candidates returns the endpoints of a query, briefly, by name, whatever its
// limit. It ends after an error.
func (c *chooser) candidates(ctx context.Context, q tasker.EndpointQuery) iter.Seq2[tasker.Endpoint, error] {
	q.Brief, q.Limit = true, candidatesPerRead
	return func(yield func(tasker.Endpoint, error) bool) {
		for {
			page, err := c.endpoints.ListEndpoints(ctx, q)
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

// names returns the names of the first endpoints of a query, up to its limit,
// that a union chooses and, if more follow, the last of these names.
func (c *chooser) names(ctx context.Context, q tasker.EndpointQuery, u selector.Union) (names []string, last string, err error) {
	var now time.Time
	for e, err := range c.candidates(ctx, q) {
		if now.IsZero() && err == nil {
			now = c.database.Now() // known since the endpoints were read
		}
		switch {
		case err != nil:
			return nil, "", err
		case !u.Match(selectable(&e), now).Matched:
		case len(names) == q.Limit:
			return names, names[len(names)-1], nil
		default:
			names = append(names, e.Name)
		}
	}
	return names, "", nil
}

// selectable returns an endpoint as a selector sees it. No endpoint is drained:
// there is no draining.
func selectable(e *tasker.Endpoint) selector.Endpoint {
	return selector.Endpoint{Name: e.Name, Labels: e.Labels, Types: e.TaskTypes, Version: e.Version, LastSeen: e.LastSeen}
}

// selectParam returns the union of the selectors in a query; empty if it has none.
func selectParam(query url.Values, errs *inputErrors) selector.Union {
	if !query.Has("select") {
		return nil
	}
	u, err := selector.ParseUnion(query["select"])
	switch {
	case errors.Is(err, selector.ErrAll):
		errs.add("?select", "selector is empty or matches every endpoint: to list all, omit it")
	case err != nil:
		errs.add("?select", "%v", err)
	}
	return u
}
