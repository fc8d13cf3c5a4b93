package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// roll replaces the task of the fixture by one with a rollout.
func (f *fixture) roll(t *testing.T, object string, endpoints ...string) {
	t.Helper()
	settings, err := rollout.Decode([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	f.task, _, err = f.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: "waves", Payload: []byte(`{"foo":"bar"}`), Endpoints: endpoints,
		Rollout: &tasker.Rollout{Settings: canonical},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The first wave is sent by the dispatch that follows the POST, slice by slice, and nobody else
// gets the task; those that are not registered are unserved.
func TestWaves(t *testing.T) {
	f := setUp(t)
	var names []string
	for i := range 600 {
		names = append(names, fmt.Sprintf("e%03d", i))
	}
	f.register(t, names[1:]...)
	f.roll(t, `{"batch":[500,"100%"],"order":"name"}`, names...)
	sent, err := f.dispatch(t.Context(), t, slow)
	if err != nil || sent.Status != tasker.Sent || sent.SentTime == nil || !slices.Equal(sent.Unserved, names[:1]) || len(sent.Payload) == 0 ||
		len(sent.Rollout.Waves) != 2 {
		t.Fatalf("%+v, %v", sent, err)
	}
	if got := f.broker.targets(); !slices.Equal(got, names[1:500]) || f.broker.count() != 2 {
		t.Errorf("sent to %d in %d messages", len(got), f.broker.count())
	}
}

// A wave that cannot be sent stays with the relay, whatever the reason, and what was sent of
// it is not sent again.
func TestWavesFail(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		after time.Duration // when the relay tries again, at the latest
	}{
		"refused":       {errRefused, time.Minute},
		"unconfirmed":   {broker.ErrUnconfirmed, 5 * time.Second},
		"not connected": {broker.ErrNotConnected, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			var names []string
			for i := range 300 {
				names = append(names, fmt.Sprintf("e%03d", i))
			}
			f.register(t, names...)
			f.roll(t, `{"batch":["100%"],"order":"name"}`, names...)
			f.broker.publish = func(context.Context) (broker.Receipt, error) {
				if f.broker.count() > 1 {
					return broker.Receipt{}, test.err
				}
				return broker.Receipt{}, nil
			}
			d := f.dispatcher(t, slow)
			task, err := d.Dispatch(t.Context(), f.task)
			if !errors.Is(err, test.err) || task.Status != tasker.Created {
				t.Fatalf("%s, %v", task.Status, err)
			}
			f.broker.publish = nil
			*f.clock += test.after
			claims, err := f.ClaimWaves(t.Context(), 10, time.Minute)
			if err != nil || !slices.Equal(claims, []ledger.WaveClaim{{TaskID: f.task.ID, Attempt: 2}}) {
				t.Fatalf("%v, %v", claims, err)
			}
			if err := d.SendWaves(t.Context(), claims[0]); err != nil {
				t.Fatal(err)
			}
			if got := f.broker.targets(); !slices.Equal(got, append(slices.Clone(names), names[256:]...)) {
				t.Errorf("sent to %v", got)
			}
			if stored, err := f.FindTask(t.Context(), "worker", "waves"); err != nil || stored.Status != tasker.Sent {
				t.Errorf("%s, %v", stored.Status, err)
			}
		})
	}
}

// A rollout whose first wave waits for an approval is not sent, and that is no error. After
// Close nothing is sent.
func TestWavesWithoutOne(t *testing.T) {
	f := setUp(t)
	f.register(t, "a")
	f.roll(t, `{"batch":1,"approve":[1]}`, "a")
	d := f.dispatcher(t, slow)
	if task, err := d.Dispatch(t.Context(), f.task); err != nil || task.Status != tasker.Created || f.broker.count() > 0 {
		t.Errorf("%s, %v", task.Status, err)
	}
	d.Close()
	if _, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, dispatch.ErrOutstanding) {
		t.Error(err)
	}
}
