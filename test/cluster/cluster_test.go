//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/promises"
)

// TestNodesFail kills each node in turn under load, and freezes the one by
// which the API publishes. Publishing goes on without it each time, and in the
// end the five promises hold, with one run for each task and endpoint.
func TestNodesFail(t *testing.T) {
	began := time.Now()
	c := startNodes(t)
	t.Logf("the cluster is whole after %v", time.Since(began).Round(time.Second))
	s := startSystem(t, c.uris(), "console1", "console2", "console3")
	queues := len(taskTypes)*len(s.endpoints) + 1 // and the dead letters'
	h := promises.History{Begin: time.Now(), Endpoints: s.endpoints}
	for _, name := range taskTypes {
		h.Types = append(h.Types, promises.Type{Name: name, MaxAttempts: 1, Outcome: "done"})
	}
	l := startLoad(s)
	l.untilSent(h.Begin, 50)
	c.untilReplicated(queues)

	for _, node := range c.all {
		fault := promises.Fault{Kind: promises.FaultRestart, Target: "broker", Time: time.Now(), PID: node.PID()}
		by := where(c.publisher(), node)
		node.Kill()
		killed := time.Now()
		again := l.untilSent(killed, 1)
		l.untilSent(killed, 100)
		t.Logf("killed %s, %s: published again after %v", node.NodeName(), by, again.Round(time.Millisecond))
		c.restart(node)
		c.untilReplicated(queues)
		fault.Until = time.Now()
		h.Faults = append(h.Faults, fault)
	}

	node := c.publisher()
	if node == nil {
		t.Fatal("the API has no connection")
	}
	fault := promises.Fault{Kind: promises.FaultPause, Target: "broker", Time: time.Now(), PID: node.PID()}
	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	again := l.untilSent(time.Now(), 1)
	t.Logf("froze %s, by which the API publishes: published again after %v", node.NodeName(), again.Round(time.Millisecond))
	var last string
	until(t, "the others to take the frozen node for dead", func() bool {
		for _, other := range c.all {
			if other != node {
				n, err := c.running(other)
				if last = fmt.Sprintf("%s sees %d nodes, %v", other.NodeName(), n, err); n != len(c.all)-1 {
					return false
				}
			}
		}
		return true
	}, &last)
	l.untilSent(time.Now(), 100)
	if err := node.Resume(); err != nil {
		t.Fatal(err)
	}
	c.untilAwake(node)
	l.untilSent(time.Now(), 20)
	// What was frozen may wake up in a partition of its own, which
	// pause_minority does not heal: an operator restarts it.
	node.Kill()
	c.restart(node)
	c.untilReplicated(queues)
	fault.Until = time.Now()
	h.Faults = append(h.Faults, fault)

	l.untilSent(time.Now(), 20)
	l.end()
	finish(t, c, s, l, &h)
}

func where(publisher, node *testnodes.RabbitMQ) string {
	if publisher == node {
		return "by which the API publishes"
	}
	return "by which the API does not publish"
}

// restart starts a node that was killed.
func (c *nodes) restart(node *testnodes.RabbitMQ) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := node.Start(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.untilWhole()
}

// finish waits until all tasks are done, and holds what happened against the
// promises.
func finish(t *testing.T, c *nodes, s *system, l *load, h *promises.History) {
	t.Helper()
	h.Posts, h.Seen = l.posts, l.seen
	for _, post := range h.Posts {
		var a promises.Answer
		var last string
		until(t, post.Type+"/"+post.Identifier+" to be done", func() (done bool) {
			var err error
			a, err = s.answer(post.Type, post.Identifier)
			last = fmt.Sprintf("%+v, %v", a, err)
			return err == nil && a.Task.Status == "DONE"
		}, &last)
		h.Final = append(h.Final, a)
	}
	h.Runs, h.End = s.runs(), time.Now()
	found := promises.Check(*h)
	var report strings.Builder
	if err := promises.NewReport(*h, found).Write(&report); err != nil {
		t.Error(err)
	}
	t.Log("\n" + report.String())
	for _, v := range found[:min(len(found), 20)] {
		t.Errorf("promise %d, %s: %s", v.Promise, v.Rule, v.Detail)
	}
	runs := 0
	for _, post := range h.Posts {
		if runs += len(post.Endpoints); post.Endpoints == nil {
			runs += len(s.endpoints)
		}
	}
	if len(h.Runs) != 2*runs { // a start and an end
		t.Errorf("%d lines in the journals, want %d: each endpoint once", len(h.Runs), 2*runs)
	}

	// The API collects the dead letters.
	var dead struct {
		Letters []json.RawMessage `json:"dead_letters"`
	}
	if code, err := s.request(http.MethodGet, "/v1/dead-letters", "", &dead); err != nil || code != http.StatusOK || len(dead.Letters) > 0 {
		t.Errorf("GET /v1/dead-letters: %d, %v, %d letters: %s", code, err, len(dead.Letters), dead.Letters)
	}
	var last string
	until(t, "the queues to be empty", func() bool { // what RabbitMQ shows is some seconds old
		list, err := c.queues(c.all[0])
		last = fmt.Sprintf("%+v, %v", list, err)
		held := 0
		for _, q := range list {
			held += q.Messages
		}
		return err == nil && len(list) > 0 && held == 0
	}, &last)
}
