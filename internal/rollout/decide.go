package rollout

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// Action is what a [Decision] does.
type Action string

// The actions.
const (
	Wait          Action = "wait"           // nothing until a row changes, or Until
	Open          Action = "open"           // open the waves First to Last
	Close         Action = "close"          // the open waves have ended
	Soak          Action = "soak"           // go on with a soak that was interrupted
	AwaitApproval Action = "await_approval" // the next wave waits for a person
	Halt          Action = "halt"           // too many endpoints are bad
	Finish        Action = "finish"         // every endpoint is settled
)

// Decision is what to do now. Unless it is to wait, Next is stored where the
// version is still the one of the record it was made from, that is
// Next.Version-1, and what else the decision demands is done in the same
// transaction.
type Decision struct {
	Action Action
	Next   Record
	// Until is when to decide again although no row has changed; zero if there
	// is no such time. It may be set for Wait only.
	Until time.Time
	// First and Last are the waves that Open opens, or that Close ends: their
	// endpoints get the task published, or are no longer waited for. With a
	// window, they are positions in the order, from 1.
	First, Last int
	// Wave is where a rollout halts: the wave that reached its own limit, or the
	// last one opened.
	Wave int
	// Limit is the setting whose limit halts the rollout: max_failures or
	// wave_max_failures.
	Limit string
	// Late is true if wave_timeout ended the open waves, those from Closed+1 to
	// Opened of the record that was given: their endpoints that are counted as
	// Unfinished are to be marked as late.
	Late bool
	// CancelRunning is true if the endpoints that have begun are to be canceled.
	CancelRunning bool
}

// Decide returns what to do now. It depends on its arguments only. It panics if
// the view does not have the counts of each wave of the plan.
func Decide(p Plan, s Settings, r Record, v View) Decision {
	v.check(p)
	d := decider{p: p, s: s, r: r, v: v, total: sum(v.Waves)}
	if p.Window == 0 {
		d.open = sum(v.Waves[r.Closed:r.Opened])
	}
	late := d.timedOut()
	switch {
	case r.State.Final():
		return d.wait()
	case d.total.unsettled() == 0:
		return Decision{Action: Finish, Next: d.move(Done)}
	case r.State == Halted:
		return d.wait()
	}
	if e := d.exceeded(late); e.limit != "" {
		return d.halt(e, late)
	}
	switch {
	case r.State == Paused:
		return d.wait()
	case p.Window > 0:
		return d.window()
	case d.isOpen() && (late || d.ended()):
		return d.close(late)
	case r.Opened == len(p.Waves), d.isOpen() && !r.Promoted:
		return d.wait()
	}
	return d.next()
}

// decider has the arguments of [Decide], and sums of the counts.
type decider struct {
	p     Plan
	s     Settings
	r     Record
	v     View
	total Counts // of all waves
	open  Counts // of the open ones
}

func (d decider) isOpen() bool { return d.r.Closed < d.r.Opened }

// ended reports whether enough endpoints of the open waves are settled.
func (d decider) ended() bool {
	settled := d.open.settled()
	return settled >= d.s.proceedAt(settled+d.open.unsettled())
}

// timeout returns when wave_timeout ends the open waves; zero if it does not.
func (d decider) timeout() time.Time {
	if d.p.Window > 0 || !d.isOpen() || d.s.WaveTimeout == 0 || !d.r.State.MayStart() {
		return time.Time{}
	}
	since := d.r.OpenedTime
	if d.r.Resumed.After(since) {
		since = d.r.Resumed
	}
	return since.Add(d.s.WaveTimeout)
}

// timedOut reports whether wave_timeout ends the open waves now.
func (d decider) timedOut() bool {
	at := d.timeout()
	return !at.IsZero() && !d.ended() && !d.v.Now.Before(at)
}

// soakEnd returns when the soak ends; zero if there is none.
func (d decider) soakEnd() time.Time {
	if d.isOpen() || d.r.Closed == 0 || d.r.Promoted || d.s.Pause == 0 {
		return time.Time{}
	}
	return d.r.ClosedTime.Add(d.s.Pause)
}

// excess is where and why too many endpoints are bad. limit is empty if they are not.
type excess struct {
	limit  string
	wave   int
	reason string
}

// exceeded returns where too many endpoints are bad. late counts the unfinished ones of
// the open waves, too.
func (d decider) exceeded(late bool) excess {
	counts := func(w int) Counts {
		c := d.v.Waves[w]
		if late && w >= d.r.Closed && w < d.r.Opened {
			c.Late, c.Unfinished = c.Late+c.Unfinished, 0
		}
		return c
	}
	var total Counts
	for w := range d.v.Waves {
		total = total.plus(counts(w))
	}
	if bad := total.bad(d.s); bad >= d.p.HaltsAt {
		reason := fmt.Sprintf("bad endpoints: %d of %d%s; the rollout halts at %d", bad, d.p.N, d.detail(total), d.p.HaltsAt)
		return excess{"max_failures", d.r.Opened, reason}
	}
	for i, w := range d.p.Waves {
		c := counts(i)
		if bad := c.bad(d.s); w.HaltsAt > 0 && bad >= w.HaltsAt {
			reason := fmt.Sprintf("bad endpoints in wave %d: %d of %d%s; the wave halts at %d", w.N, bad, w.Size, d.detail(c), w.HaltsAt)
			return excess{"wave_max_failures", w.N, reason}
		}
	}
	return excess{}
}

// detail says how many bad endpoints did not end, in parentheses.
func (d decider) detail(c Counts) string {
	var parts []string
	if c.Unreached > 0 && d.s.Unreached != IgnoreUnreached {
		parts = append(parts, fmt.Sprintf("unreached: %d", c.Unreached))
	}
	if c.Late > 0 {
		parts = append(parts, fmt.Sprintf("late: %d", c.Late))
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// window opens as many endpoints as the window has room for.
func (d decider) window() Decision {
	size := d.p.Window
	if d.p.Ramp && !d.r.Promoted {
		size = min(size, 1<<(bits.Len(uint(d.total.OK+1))-1))
	}
	// If the counts are older than the record, some that have just been opened
	// are counted as unopened.
	unfinished := d.total.Unfinished + d.total.Late + max(0, d.total.Unopened-(d.p.N-d.r.Opened))
	last := min(d.p.N, d.r.Opened+size-unfinished)
	if last <= d.r.Opened {
		return d.wait()
	}
	return d.openUntil(last)
}

// next opens the next wave, once it has soaked and a person has approved it. If
// the rollout is promoted, it opens all waves before the next approval.
func (d decider) next() Decision {
	if end := d.soakEnd(); d.v.Now.Before(end) {
		if d.r.State == Soaking {
			return d.wait()
		}
		next := d.move(Soaking)
		next.Until = end
		return Decision{Action: Soak, Next: next}
	}
	last := d.r.Opened
	for last < len(d.p.Waves) && !d.needsApproval(last+1) && (last == d.r.Opened || d.r.Promoted) {
		last++
	}
	switch {
	case last > d.r.Opened:
		return d.openUntil(last)
	case d.r.State == WaitingApproval:
		return d.wait()
	}
	return Decision{Action: AwaitApproval, Next: d.move(WaitingApproval)}
}

func (d decider) needsApproval(wave int) bool {
	return d.p.Waves[wave-1].Approve && wave > d.r.Approved
}

func (d decider) openUntil(last int) Decision {
	next := d.move(Running)
	next.Opened, next.OpenedTime = last, d.v.Now
	return Decision{Action: Open, Next: next, First: d.r.Opened + 1, Last: last}
}

// close ends the open waves, and begins the soak if another wave follows.
func (d decider) close(late bool) Decision {
	to := d.r.State
	if d.s.Pause > 0 && d.r.Opened < len(d.p.Waves) && !d.r.Promoted {
		to = Soaking
	}
	next := d.closed(d.move(to))
	if to == Soaking {
		next.Until = d.v.Now.Add(d.s.Pause)
	}
	return Decision{Action: Close, Next: next, First: d.r.Closed + 1, Last: d.r.Opened, Late: late}
}

func (d decider) closed(next Record) Record {
	next.Closed, next.ClosedTime = d.r.Opened, d.v.Now
	return next
}

// halt halts the rollout. A wave that was ended by its timeout stays ended, so
// that resuming does not wait for the same endpoints again.
func (d decider) halt(e excess, late bool) Decision {
	next := d.move(Halted)
	next.Reason = e.reason
	if late {
		next = d.closed(next)
	}
	return Decision{Action: Halt, Next: next, Wave: e.wave, Limit: e.limit, Late: late, CancelRunning: d.s.OnHalt == CancelRunning}
}

// move returns the record of the next version, in a state.
func (d decider) move(to State) Record {
	if to == d.r.State {
		next := d.r
		next.Version++
		return next
	}
	return d.r.move(to, Act{Now: d.v.Now})
}

// wait returns the decision to do nothing until the first time at which the
// clock alone may change something.
func (d decider) wait() Decision {
	w := Decision{Action: Wait, Next: d.r}
	if d.r.State.Final() {
		return w
	}
	times := []time.Time{d.v.ReceiveBy, d.timeout()}
	if d.r.State == Soaking {
		times = append(times, d.soakEnd())
	}
	for _, at := range times {
		if at.After(d.v.Now) && (w.Until.IsZero() || at.Before(w.Until)) {
			w.Until = at
		}
	}
	return w
}
