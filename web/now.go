package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// fewRows is how many rows the short lists have.
const fewRows = 10

// nowPage is the first page: what needs a person, what runs, what has ended.
type nowPage struct {
	Waiting            taskList // their rollouts wait for a person
	Incomplete, Failed taskList // Failed are those of the last 24 hours
	Letters            []client.DeadLetter
	MoreLetters        bool
	Silent             []tasker.Endpoint
	MoreSilent         bool
	Running, Ended     taskList
}

// taskList is a short list of tasks.
type taskList struct {
	Rows   []taskRow
	More   bool   // there are others
	Filter string // that lists all
}

// Calm reports whether nothing needs a person. A search that stopped before it had
// looked at everything is no reason to say so.
func (p nowPage) Calm() bool {
	needs := len(p.Waiting.Rows) + len(p.Incomplete.Rows) + len(p.Failed.Rows) + len(p.Letters) + len(p.Silent)
	return needs == 0 && !p.Incomplete.More && !p.Failed.More
}

// Empty reports whether there is no task at all.
func (p nowPage) Empty() bool {
	return len(p.Incomplete.Rows)+len(p.Failed.Rows)+len(p.Running.Rows)+len(p.Ended.Rows) == 0
}

// silentFor chooses the endpoints that were not seen for longer than a restart of a
// manager takes.
const silentFor = "seen>1m"

func showNow(v *visit) error {
	var p nowPage
	for _, list := range []struct {
		to     *taskList
		filter string
	}{
		{&p.Incomplete, "status:INCOMPLETE"},
		{&p.Failed, "status:FAILED since:24h"},
		{&p.Running, "status:CREATED,SENT,CANCELING"},
		{&p.Ended, "status:DONE,FAILED,CANCELED"},
	} {
		var err error
		if *list.to, err = v.list(list.filter); err != nil {
			return err
		}
	}
	waiting, err := get[client.TaskPage[client.TaskView]](v,
		url.Values{"state": waitingStates, "limit": {strconv.Itoa(fewRows)}}, "v1", "rollouts")
	if err != nil {
		return err
	}
	p.Waiting = taskList{Rows: v.rows(waiting.Tasks), More: waiting.Next != nil}
	letters, err := get[client.DeadLetterPage](v, url.Values{"limit": {"5"}}, "v1", "dead-letters")
	if err != nil && tasker.CodeOf(err) != tasker.Forbidden { // who may not view all types does without
		return err
	}
	p.Letters, p.MoreLetters = letters.DeadLetters, letters.Next != nil
	silent, err := get[client.EndpointPage](v, url.Values{"select": {silentFor}, "limit": {"5"}}, "v1", "endpoints")
	if err != nil {
		return err
	}
	p.Silent, p.MoreSilent = silent.Endpoints, silent.Next != nil
	say := plural(len(p.Incomplete.Rows)+len(p.Failed.Rows), "task") + " failed or incomplete"
	if n := len(p.Waiting.Rows); n > 0 {
		say += ", " + plural(n, "rollout") + " waiting for a person"
	}
	poll := rolling(slices.Concat(p.Waiting.Rows, p.Running.Rows)...)
	return v.show(http.StatusOK, "now", page{Title: "Now", Section: "now", Events: "events", Poll: poll, Say: say, Body: p})
}

// list returns the newest tasks that a filter selects.
func (v *visit) list(filter string) (taskList, error) {
	query, err := parseFilter(filter)
	if err != nil {
		return taskList{}, err
	}
	found, err := v.search(query, fewRows)
	return taskList{Rows: v.rows(found.Tasks), More: found.Next != nil, Filter: filter}, err
}
