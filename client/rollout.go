package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/taskerhq/tasker"
)

// NewRollout takes a task through its endpoints in waves, or through a window of so many at
// once. docs/rollouts.md has the rules; zero values stand for the defaults. A number of
// endpoints is an int, or a percentage as a string such as "10%".
type NewRollout struct {
	// Batch is the size of each wave, or a list with how many endpoints there are until the
	// end of each wave, such as []any{1, "10%", "100%"}. MaxConcurrency is how many endpoints
	// are open at once instead; with Ramp that begins at 1 and doubles on success.
	Batch          any  `json:"batch,omitempty"`
	MaxConcurrency any  `json:"max_concurrency,omitempty"`
	Ramp           bool `json:"ramp,omitempty"`
	// Pause is the time between two waves, such as "30s".
	Pause string `json:"pause,omitempty"`
	// MaxFailures is how many bad endpoints are tolerated in the whole rollout; one more
	// halts it. WaveMaxFailures is the same for each wave.
	MaxFailures     any `json:"max_failures,omitempty"`
	WaveMaxFailures any `json:"wave_max_failures,omitempty"`
	// Unreached is "count" or "ignore": whether endpoints that do not receive the task in
	// time are bad.
	Unreached string `json:"unreached,omitempty"`
	// WaveTimeout ends a wave, ProceedAt does so when that percentage of it has ended.
	WaveTimeout string `json:"wave_timeout,omitempty"`
	ProceedAt   string `json:"proceed_at,omitempty"`
	// OnHalt is "finish" or "cancel": what becomes of what runs when the rollout halts.
	OnHalt string `json:"on_halt,omitempty"`
	// Approve is true or a list of waves, which wait for [Client.Approve].
	Approve any `json:"approve,omitempty"`
	// Splay is the time within which the endpoints of a wave begin, at random, and
	// SkipSilent leaves out those that were not seen for so long.
	Splay      string `json:"splay,omitempty"`
	SkipSilent string `json:"skip_silent,omitempty"`
	// Order is "seed", "name" or "label:KEY"; another Seed gives another order.
	Order string `json:"order,omitempty"`
	Seed  string `json:"seed,omitempty"`
}

// RolloutAnswer is the rollout of a task, with what has become of its endpoints.
type RolloutAnswer struct {
	Rollout tasker.Rollout `json:"rollout"`
	tasker.RolloutProgress
}

// Approve approves waves of a rollout.
type Approve struct {
	// Wave is the wave up to which all are approved; 0 means the one that waits.
	Wave   int    `json:"wave,omitempty"`
	Reason string `json:"reason,omitempty"` // for people; at most [tasker.MaxReason] bytes
	// Expect is how the rollout must be, such as [tasker.Rollout.Expect]; nil if it may be
	// in any state.
	Expect *tasker.RolloutExpect `json:"expect,omitempty"`
}

// Approved is a rollout after an approval.
type Approved struct {
	Changed bool            `json:"changed"` // false if the wave was approved already
	Rollout *tasker.Rollout `json:"rollout"`
}

// ResumeRollout continues a rollout. The zero value goes on where it stopped.
type ResumeRollout struct {
	// All promotes the rollout: it waits for no wave and no soak any more, but for
	// approvals, and halts as before.
	All    bool   `json:"all,omitempty"`
	Reason string `json:"reason,omitempty"` // for people; at most [tasker.MaxReason] bytes
	// Expect is how the rollout must be, such as [tasker.Rollout.Expect]; nil if it may be
	// in any state. With its BadDigest nobody else is forgiven.
	Expect *tasker.RolloutExpect `json:"expect,omitempty"`
}

// Rollout returns the rollout of a task, with what has become of its endpoints. The error
// is [tasker.NotFound] if there is no such task, or it has no rollout.
func (c *Client) Rollout(ctx context.Context, taskType, identifier string) (answer RolloutAnswer, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return RolloutAnswer{}, err
	}
	_, err = c.call(ctx, request{path: []string{taskType, identifier, "rollout"}, retry: true}, &answer)
	return answer, err
}

// Rollouts returns the tasks whose rollouts are in one of some states, newest first, or, if
// none is given, that have not ended. It ends after an error.
func (c *Client) Rollouts(ctx context.Context, states ...string) iter.Seq2[TaskView, error] {
	query := url.Values{}
	if len(states) > 0 {
		query["state"] = states
	}
	return pages(ctx, c, request{path: []string{"v1", "rollouts"}, query: query},
		func(p *TaskPage[TaskView]) ([]TaskView, *string) { return p.Tasks, p.Next })
}

// Approve approves the wave of a rollout that waits for it, or all up to a wave. The error
// is [tasker.Conflict] if the task has no rollout, or this waits for no approval, has ended
// or is not as expected.
func (c *Client) Approve(ctx context.Context, taskType, identifier string, approve Approve) (approved Approved, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return Approved{}, err
	}
	r := request{method: http.MethodPost, path: []string{taskType, identifier, "approve"}, body: approve, retry: approve.Expect == nil}
	_, err = c.call(ctx, r, &approved)
	return approved, err
}

// ResumeRollout continues a rollout that is HALTED or PAUSED, or promotes it. The endpoints
// that are bad when a HALTED one is resumed are forgiven: they do not count any more. The
// error is [tasker.Conflict] if the rollout has ended, waits for an approval or is not as
// expected.
func (c *Client) ResumeRollout(ctx context.Context, taskType, identifier string, resume ResumeRollout) (resumed Resumed, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return Resumed{}, err
	}
	r := request{method: http.MethodPost, path: []string{taskType, identifier, "resume"}, body: resume, retry: resume.Expect == nil}
	_, err = c.call(ctx, r, &resumed)
	return resumed, err
}
