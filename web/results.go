package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// tableRows is how many rows the table of results has.
const tableRows = 100

// resultsPage is the table of the results of a task.
type resultsPage struct {
	Type, Identifier string
	State            string
	States           []tasker.ResultState
	Results          []tasker.TaskResult
	First            bool
	Next             string
}

func showResults(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	given := v.r.URL.Query()
	query := url.Values{"limit": {strconv.Itoa(tableRows)}}
	for _, name := range []string{"state", "cursor"} {
		if given.Get(name) != "" {
			query.Set(name, given.Get(name))
		}
	}
	found, err := get[client.ResultPage](v, query, taskType, identifier, "results")
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "results", page{
		Title: "Results of " + taskType + "/" + identifier, Section: "tasks",
		Body: resultsPage{
			Type: taskType, Identifier: identifier, State: v.param("state"), States: tasker.ResultStates(),
			Results: found.Results, First: !query.Has("cursor"), Next: value(found.Next),
		},
	})
}

// missingPage lists the endpoints that have not received a task.
type missingPage struct {
	Type, Identifier string
	Endpoints        []string
	First            bool
	Next             string
}

func showMissing(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {"200"}}
	if cursor := v.r.URL.Query().Get("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	found, err := get[client.MissingPage](v, query, taskType, identifier, "missing")
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "missing", page{
		Title: "Missing endpoints of " + taskType + "/" + identifier, Section: "tasks",
		Body: missingPage{taskType, identifier, found.Endpoints, !query.Has("cursor"), value(found.Next)},
	})
}

// cells are the letters of the grid, which grid.js draws.
var cells = map[tasker.ResultState]byte{
	tasker.Received: 'w', tasker.Running: 'r', tasker.Retrying: 'y', tasker.Lost: 'l', tasker.ResultDone: 'd',
	tasker.ResultFailed: 'f', tasker.TimedOut: 't', tasker.ResultCanceled: 'c', tasker.Expired: 'e', tasker.Rejected: 'j',
	tasker.Superseded: 's',
}

const (
	cellMissing = 'm'
	cellOther   = 'o'
)

// grid is what the grid of a task draws: its endpoints, sorted, and a letter for each.
type grid struct {
	Names  []string `json:"names"`
	States string   `json:"states"`
}

// gridOf returns the grid of a task from its groups.
func gridOf(g client.TaskGroups) (grid, error) {
	letters := map[string]byte{}
	add := func(letter byte, set client.EndpointSet) error {
		names, err := set.Endpoints()
		for _, name := range names {
			letters[name] = letter
		}
		return err
	}
	letter := func(state tasker.ResultState) byte {
		if l, ok := cells[state]; ok {
			return l
		}
		return cellOther
	}
	if err := add(cellMissing, g.Missing); err != nil {
		return grid{}, err
	}
	for _, group := range g.Groups {
		if err := add(letter(group.State), group.EndpointSet); err != nil {
			return grid{}, err
		}
	}
	for _, other := range g.Other {
		if err := add(letter(other.State), other.EndpointSet); err != nil {
			return grid{}, err
		}
	}
	answer := grid{Names: slices.AppendSeq(make([]string, 0, len(letters)), maps.Keys(letters))}
	slices.Sort(answer.Names)
	states := make([]byte, len(answer.Names))
	for i, name := range answer.Names {
		states[i] = letters[name]
	}
	answer.States = string(states)
	return answer, nil
}

// serveGrid serves the states of all endpoints of a task in one answer, for grid.js.
func serveGrid(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	g, err := v.api.Groups(v.ctx(), taskType, identifier)
	if err != nil {
		return err
	}
	answer, err := gridOf(g)
	if err != nil {
		return err
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode the grid: %w", err)
	}
	sum := sha256.Sum256(body)
	tag := strconv.Quote(hex.EncodeToString(sum[:12]))
	header := v.w.Header()
	header.Set("Cache-Control", "private, no-cache")
	header.Set("ETag", tag)
	if v.r.Header.Get("If-None-Match") == tag {
		v.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/json")
	_, _ = v.w.Write(body) // an error means that the browser is gone
	return nil
}
