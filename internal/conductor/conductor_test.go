package conductor_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/conductor"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// fake is a database that answers one after the other, and keeps what it is told.
type fake struct {
	mu         sync.Mutex
	advances   []ledger.Advance
	err        error
	looked     int
	aggregated int
	sent       []ledger.WaveClaim
	hints      map[string][]string // the endpoints by command
}

func (f *fake) next() (a ledger.Advance, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked++
	if len(f.advances) > 0 {
		a, f.advances = f.advances[0], f.advances[1:]
	}
	return a, f.err
}

func (f *fake) Advance(context.Context, int64, time.Duration) (ledger.Advance, error) {
	return f.next()
}

func (f *fake) Approve(context.Context, tasker.RolloutAct, time.Duration) (ledger.Advance, error) {
	return f.next()
}

func (f *fake) ResumeRollout(context.Context, tasker.RolloutAct, time.Duration) (ledger.Advance, error) {
	return f.next()
}

func (f *fake) Aggregate(context.Context, []int64, time.Duration) (int, error) {
	f.aggregated++
	return 0, nil
}

func (f *fake) SendWaves(_ context.Context, c ledger.WaveClaim) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, c)
	return errors.New("the broker is away")
}

func (f *fake) SendControl(_ context.Context, endpoints []string, body []byte) error {
	hint, err := wire.DecodeControl(body)
	if f.hints == nil {
		f.hints = map[string][]string{}
	}
	f.hints[hint.Command] = endpoints
	return errors.Join(err, errors.New("the broker is away"))
}

func (f *fake) conductor() *conductor.Conductor {
	return conductor.New(conductor.Deps{Store: f, Statuses: f, Sender: f, Broker: f, Log: slog.New(slog.DiscardHandler)}, time.Minute)
}

// What a decision says follows, whether or not the broker can be reached: waves are sent,
// endpoints are told, statuses are stored. It is looked at until nothing changes.
func TestFollows(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = "e" + strconv.Itoa(i)
	}
	f := &fake{advances: []ledger.Advance{
		{Changed: true, Behind: true, Send: ledger.WaveClaim{TaskID: 7, Attempt: 3}},
		{Changed: true, Halted: "max_failures", Held: []string{"a", "b"}, Canceled: many},
		{Behind: true},
	}}
	c := f.conductor()
	if err := c.Look(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if f.looked != 3 || f.aggregated != 2 || !slices.Equal(f.sent, []ledger.WaveClaim{{TaskID: 7, Attempt: 3}}) {
		t.Errorf("%+v", f)
	}
	if !slices.Equal(f.hints[wire.CommandHold], []string{"a", "b"}) || f.hints[wire.CommandCancel] != nil || len(f.hints) != 2 {
		t.Errorf("%v", f.hints)
	}
}

// What a person does follows, too, and its error is returned.
func TestActs(t *testing.T) {
	for name, act := range map[string]func(*conductor.Conductor, context.Context, tasker.RolloutAct) (bool, error){
		"approve": (*conductor.Conductor).Approve, "resume": (*conductor.Conductor).Resume,
	} {
		f := &fake{advances: []ledger.Advance{{Changed: true, Held: []string{"a"}, Send: ledger.WaveClaim{TaskID: 7, Attempt: 1}}}}
		c := f.conductor()
		changed, err := act(c, t.Context(), tasker.RolloutAct{})
		c.Wait()
		if !changed || err != nil || len(f.sent) != 1 || len(f.hints) != 1 {
			t.Errorf("%s: %v, %v, %+v", name, changed, err, f)
		}
		f = &fake{err: errors.New("no rollout"), advances: []ledger.Advance{{Held: []string{"a"}}}}
		if changed, err := act(f.conductor(), t.Context(), tasker.RolloutAct{}); changed || err == nil || len(f.hints) > 0 {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
	}
}

// One that always finds something to decide does not keep the others waiting.
func TestLookEnds(t *testing.T) {
	f := &fake{}
	for range 1000 {
		f.advances = append(f.advances, ledger.Advance{Changed: true})
	}
	if err := f.conductor().Look(t.Context(), 7); err != nil || f.looked != 100 {
		t.Errorf("%d looks, %v", f.looked, err)
	}
}
