package api

import (
	"errors"
	"net/url"

	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/selector"
)

// request returns for whom a task of a type is to be.
func (in *taskRequest) request(taskType string) choice.Request {
	return choice.Request{
		Type: taskType, Listed: in.endpoints, Union: in.where.union, Limit: in.where.limit, Seed: in.where.seed,
		Expect: in.where.expect, Freeze: in.rollout != nil,
	}
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
