package rollout

import (
	"time"

	"github.com/taskerhq/tasker"
)

// Record is the stored state of a rollout. All times are the database's.
type Record struct {
	// Version counts the changes. An update is guarded by it: see the package's
	// section on idempotence.
	Version int64

	State  State
	Since  time.Time // when it came into State
	Until  time.Time // when it leaves SOAKING; otherwise zero
	By     string    // the person who brought it into State; empty if nobody did
	Reason string    // why it is HALTED, or what the person said

	// Opened is the last wave that was opened, 0 before the first, and Closed
	// the last that has ended: waves Closed+1 to Opened are open. With a window,
	// Opened is the number of endpoints opened so far.
	Opened     int
	OpenedTime time.Time
	Closed     int
	ClosedTime time.Time

	Resumed  time.Time // when it was last resumed; zero if never
	Approved int       // waves up to this one are approved
	Promoted bool      // resumed with all: it waits for no wave and no soak
}

// New returns the record of a rollout that begins now.
func New(now time.Time) Record { return Record{State: Running, Since: now} }

// Act is what a person does.
type Act struct {
	By     string
	Reason string // may be empty
	Now    time.Time
}

// Each act returns the record to be stored. If it has nothing to change, it
// returns the same record with the same version, and no error.

// Pause holds the rollout: no endpoint starts until it is resumed. A halted
// rollout is held already and stays HALTED. It is a [tasker.Conflict] if the
// rollout has ended.
func (r Record) Pause(a Act) (Record, error) {
	switch {
	case r.State.Final():
		return r, r.ended()
	case !r.State.CanMoveTo(Paused):
		return r, nil
	}
	return r.move(Paused, a), nil
}

// Resume continues a rollout that is halted or paused. With all it also promotes
// it, which is legal in any state but the final ones; without all, it ends an
// earlier promotion. It is a [tasker.Conflict] if the rollout has ended or waits
// for an approval.
//
// If it was halted, forgive is true, and the same transaction forgives all
// endpoints that are bad: those counted as Bad, or as Unreached unless these are
// ignored, are marked as forgiven, and those counted as Late no longer are late. A retry removes the
// mark.
func (r Record) Resume(a Act, all bool) (next Record, forgive bool, err error) {
	switch r.State {
	case Halted, Paused:
		next = r.move(Running, a)
		next.Resumed, next.Promoted = a.Now, all
		return next, r.State == Halted, nil
	case Done, Canceled:
		return r, false, r.ended()
	}
	switch {
	case !all && r.State == WaitingApproval:
		return r, false, tasker.Errorf(tasker.Conflict, "wave %d waits for an approval: approve it", r.Opened+1)
	case !all || r.Promoted:
		return r, false, nil
	}
	next = r
	next.Version++
	next.Promoted = true
	return next, false, nil
}

// Approve approves all waves up to the one with this number. One that has been
// opened or approved is nothing to change. It is [tasker.Invalid] if the plan has
// no such wave, and a [tasker.Conflict] if the rollout has ended.
func (r Record) Approve(p Plan, wave int, a Act) (Record, error) {
	switch {
	case r.State.Final():
		return r, r.ended()
	case wave < 1 || wave > len(p.Waves):
		return r, tasker.Errorf(tasker.Invalid, "invalid wave %d: the rollout has %d waves", wave, len(p.Waves))
	case wave <= r.Opened || wave <= r.Approved:
		return r, nil
	}
	next := r
	if r.State == WaitingApproval {
		next = r.move(Running, a)
	} else {
		next.Version++
	}
	next.Approved = wave
	return next, nil
}

// Cancel ends the rollout, in any state. One that has ended is nothing to change.
func (r Record) Cancel(a Act) Record {
	if r.State.Final() {
		return r
	}
	return r.move(Canceled, a)
}

func (r Record) ended() error {
	return tasker.Errorf(tasker.Conflict, "rollout has ended: it is %s", r.State)
}

// move returns the record of the next version in another state.
func (r Record) move(to State, a Act) Record {
	r.Version++
	r.State, r.Since, r.By, r.Reason, r.Until = to, a.Now, a.By, a.Reason, time.Time{}
	return r
}
