package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// WaveStore is the part of the database that has what is to be sent of rollouts.
type WaveStore interface {
	WaveTask(ctx context.Context, taskID int64) (tasker.Task, error)
	NextWave(ctx context.Context, c ledger.WaveClaim, lease time.Duration, limit int) (wave ledger.Wave, current bool, err error)
	SaveWave(ctx context.Context, c ledger.WaveClaim, sent, unserved []string) error
	ReleaseWave(ctx context.Context, c ledger.WaveClaim, after time.Duration) error
}

// SendWaves sends a task to the endpoints whose wave of its rollout is open, in an attempt
// that the caller has claimed. It waits as [Dispatcher.Resume] does. What fails is left to
// the relay, and so is what a process that dies was about to send.
func (d *Dispatcher) SendWaves(ctx context.Context, c ledger.WaveClaim) error {
	_, err := d.sendWaves(ctx, tasker.Task{ID: c.TaskID}, c, d.cfg.RelayTimeout)
	return err
}

// sendWaves runs an attempt, and returns the task as it is known after it.
func (d *Dispatcher) sendWaves(ctx context.Context, task tasker.Task, c ledger.WaveClaim, timeout time.Duration) (tasker.Task, error) {
	type outcome struct {
		task tasker.Task
		err  error
	}
	done := make(chan outcome, 1)
	started := d.goWaves(ctx, func(ctx context.Context) {
		sent, err := d.runWaves(ctx, c, timeout/2)
		done <- outcome{sent, err}
	})
	if !started {
		return task, fmt.Errorf("task %d: %w", c.TaskID, ErrOutstanding)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case o := <-done:
		return sentTask(task, o.task), o.err
	case <-timer.C:
	}
	return task, fmt.Errorf("task %d: %w", c.TaskID, ErrOutstanding)
}

// sentTask returns a task with what has changed of it since it was stored.
func sentTask(task, sent tasker.Task) tasker.Task {
	if sent.ID == 0 {
		return task
	}
	task.Status, task.SentTime, task.LastModifiedTime, task.Unserved = sent.Status, sent.SentTime, sent.LastModifiedTime, sent.Unserved
	return task
}

// goWaves runs an attempt in the background, until Close; started is false after that.
func (d *Dispatcher) goWaves(ctx context.Context, run func(ctx context.Context)) (started bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.waves--
	key := d.waves
	d.attempts[key] = cancel
	d.group.Go(func() {
		defer cancel()
		run(ctx)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.attempts, key)
	})
	return true
}

// runWaves sends, slice by slice, until nothing is left or a later attempt has begun. wait
// is how long to wait for room before the first message.
func (d *Dispatcher) runWaves(ctx context.Context, c ledger.WaveClaim, wait time.Duration) (sent tasker.Task, err error) {
	defer func() {
		if err != nil {
			d.releaseWave(ctx, c, err)
		}
	}()
	call, cancel := storing(ctx)
	task, err := d.store.WaveTask(call, c.TaskID)
	cancel()
	if err != nil {
		return sent, err
	}
	a := &attempt{d: d, u: ledger.Unsent{Task: task, Attempt: c.Attempt}, wait: wait, ended: make(chan struct{})}
	body, err := d.form(ctx, task.Type).Encode(task)
	if err != nil {
		return sent, err
	}
	most := max(1, min(sliceCopies, sliceBytes/max(1, len(body))))
	for {
		call, cancel := storing(ctx)
		wave, current, err := d.store.NextWave(call, c, Lease, most)
		cancel()
		if err != nil || !current {
			return sent, err
		}
		if sent = wave.Task; len(wave.Endpoints) == 0 {
			return sent, nil
		}
		if err := d.sendWave(ctx, a, c, wave, body); err != nil {
			return sent, err
		}
	}
}

// sendWave publishes a message to the endpoints of one slice, and stores that.
func (d *Dispatcher) sendWave(ctx context.Context, a *attempt, c ledger.WaveClaim, wave ledger.Wave, body []byte) error {
	if err := d.broker.Ready(); err != nil {
		return err
	}
	// Nothing is published to those that are not registered, as they have no queue.
	aimed := wave.Task
	aimed.Endpoints, aimed.RemovedEndpoints = wave.Endpoints, nil
	_, known := d.audiences.of(ctx, aimed)
	var served, unserved []string
	for _, name := range wave.Endpoints {
		if known == nil || known[name] {
			served = append(served, name)
		} else {
			unserved = append(unserved, name)
		}
	}
	if len(served) > 0 {
		receipt, err := a.publishTo(ctx, broker.To(served...), len(served), body)
		if err != nil {
			return err
		}
		unserved = append(unserved, receipt.Unserved...)
	}
	// After a crash here they are published again: the endpoints recognize the duplicate.
	call, cancel := storing(ctx)
	defer cancel()
	return d.store.SaveWave(call, c, wave.Endpoints, unserved)
}

// releaseWave ends an attempt that failed. If that cannot be stored, the next one is made
// when the claim expires.
func (d *Dispatcher) releaseWave(ctx context.Context, c ledger.WaveClaim, why error) {
	var after time.Duration
	switch {
	case errors.Is(why, broker.ErrNotConnected), errors.Is(why, broker.ErrBlocked), errors.Is(why, ErrBusy):
		// The relay waits for the broker itself.
	case errors.Is(why, broker.ErrRefused):
		after = pause(refusedPause, 1)
		d.log.WarnContext(ctx, "wave refused by RabbitMQ", "task_id", c.TaskID, "pause", after, "err", why)
	default:
		after = pause(unconfirmedPause, 1)
		d.log.InfoContext(ctx, "wave not sent", "task_id", c.TaskID, "pause", after, "err", why)
	}
	call, cancel := storing(ctx)
	defer cancel()
	if err := d.store.ReleaseWave(call, c, after); err != nil {
		d.log.DebugContext(ctx, "could not release the wave to the relay", "task_id", c.TaskID, "err", err)
	}
}
