package client_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func TestRollouts(t *testing.T) {
	c, ctx := newClient(t, devURL), t.Context()
	newTask := client.NewTask{Identifier: "waves", Rollout: &client.NewRollout{Batch: 1, Approve: true, Order: "name"}}
	if _, _, err := c.CreateTask(ctx, "worker", newTask); err != nil {
		t.Fatal(err)
	}
	var answer client.RolloutAnswer
	late := time.After(time.Minute)
	for answer.Rollout.State != "WAITING_APPROVAL" {
		var err error
		if answer, err = c.Rollout(ctx, "worker", "waves"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatalf("the rollout is %s", answer.Rollout.State)
		}
	}
	if answer.Total.Done != 1 || answer.Total.Unopened != 1 || len(answer.Waves) != 2 || answer.Waves[1].State != tasker.WaveUnopened {
		t.Errorf("%+v", answer)
	}
	for _, states := range [][]string{nil, {"HALTED", "WAITING_APPROVAL"}} {
		n := 0
		for task, err := range c.Rollouts(ctx, states...) {
			if n++; err != nil || task.Identifier != "waves" || task.Rollout.State != "WAITING_APPROVAL" {
				t.Errorf("%v: %+v, %v", states, task, err)
			}
		}
		if n != 1 {
			t.Errorf("%v: %d rollouts", states, n)
		}
	}
	for _, err := range c.Rollouts(ctx, "nonsense") {
		wantCode(t, err, tasker.Invalid)
	}
	if _, err := c.Approve(ctx, "worker", "waves", client.Approve{Wave: 2}); err != nil {
		t.Fatal(err)
	}
	if ended, err := c.Wait(ctx, "worker", "waves"); err != nil || ended.Task.Status != tasker.Done {
		t.Errorf("%+v, %v", ended, err)
	}
	_, err := c.Rollout(ctx, "worker", "none")
	wantCode(t, err, tasker.NotFound)
}
