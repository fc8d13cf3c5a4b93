package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/taskerhq/tasker/test/promises"
)

// action is a kind of fault.
type action string

// The actions. Comments say what is not in the name.
const (
	killAPI       action = "kill-api"
	killManager   action = "kill-manager"
	stopAPI       action = "stop-api"
	stopManager   action = "stop-manager"
	pauseAPI      action = "pause-api"
	pauseManager  action = "pause-manager"
	secondManager action = "second-manager" // start another manager with the same name
	takeOver      action = "take-over"      // let another manager take a paused manager's name
	killStranded  action = "kill-stranded"  // a manager that cannot reach the database
	stopStranded  action = "stop-stranded"
	powerCut      action = "power-cut" // kill everything at once
	killBroker    action = "kill-broker"
	stopBroker    action = "stop-broker"
	wipeBroker    action = "wipe-broker"
	alarm         action = "alarm" // the broker blocks publishers
	killDatabase  action = "kill-database"
	pauseDatabase action = "pause-database"
	cutLink       action = "cut-link" // close connections and refuse new ones
	cutAll        action = "cut-all"
	hangLink      action = "hang-link" // forward nothing, close nothing
	slowLink      action = "slow-link"
	slowAll       action = "slow-all"
	narrowLink    action = "narrow-link" // low bandwidth
	resetLink     action = "reset-link"  // reset connections when they send
)

// kinds returns the checker's kind of fault for each action.
func kinds() map[action]string {
	return map[action]string{
		killAPI: promises.FaultKill, killManager: promises.FaultKill,
		stopAPI: promises.FaultStop, stopManager: promises.FaultStop,
		pauseAPI: promises.FaultPause, pauseManager: promises.FaultPause, pauseDatabase: promises.FaultPause,
		secondManager: promises.FaultStop, takeOver: promises.FaultPause,
		killStranded: promises.FaultKill, stopStranded: promises.FaultStop, powerCut: promises.FaultKill,
		killBroker: promises.FaultRestart, stopBroker: promises.FaultRestart, killDatabase: promises.FaultRestart,
		wipeBroker: promises.FaultWipe, alarm: promises.FaultAlarm,
		cutLink: promises.FaultCut, cutAll: promises.FaultCut, hangLink: promises.FaultCut, resetLink: promises.FaultCut,
		slowLink: promises.FaultSlow, slowAll: promises.FaultSlow, narrowLink: promises.FaultSlow,
	}
}

// repeated returns one round of the actions that may occur any number of times;
// the most harmful ones more than once.
func repeated() []action {
	return []action{
		killAPI, killManager, killManager, killManager, stopAPI, stopManager, pauseAPI, pauseManager, pauseManager,
		secondManager, takeOver, killStranded, killStranded, stopStranded, powerCut,
		killBroker, stopBroker, alarm, killDatabase, pauseDatabase,
		cutLink, cutAll, hangLink, slowLink, slowAll, narrowLink, resetLink,
	}
}

// step is one fault of a plan.
type step struct {
	At     time.Duration // since the start of the load
	Do     action
	Target string        // a process; "" means all, or a server
	Server string        // the server at the other end of a link
	For    time.Duration // how long it lasts, or the process is down
}

func (s step) String() string {
	text := string(s.Do)
	if s.Target != "" {
		text += " " + s.Target
	}
	if s.Server != "" {
		text += " to " + s.Server
	}
	return fmt.Sprintf("%s for %v", text, s.For.Round(time.Millisecond))
}

// The servers at the ends of links. For a manager that stores at the gateways,
// these are the database.
const (
	broker   = "broker"
	database = "database"
)

// pace is the mean time between faults.
const pace = 2 * time.Second

// newPlan generates the faults of a run from the seed. The broker's disk is
// wiped once; all other actions repeat, in rounds of random order.
func newPlan(seed uint64, length time.Duration, apis, managers []string) []step {
	p := planner{rand.New(rand.NewPCG(seed, 1)), apis, managers}
	count := max(1, int((length-2*time.Second)/pace))
	var order []action
	for len(order) < count {
		round := repeated()
		p.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		order = append(order, round...)
	}
	order = order[:count]
	// In the first round if there are several, so that all actions occur.
	at := p.IntN(min(count, len(repeated())))
	order = append(order[:at], append([]action{wipeBroker}, order[at:]...)...)
	plan := make([]step, len(order))
	gap := (length - 2*time.Second) / time.Duration(len(order))
	for i, do := range order {
		plan[i] = p.step(do)
		plan[i].At = time.Second + time.Duration(i)*gap + p.upTo(gap)
	}
	return plan
}

type planner struct {
	*rand.Rand
	apis, managers []string
}

func (p planner) step(do action) step {
	s := step{Do: do}
	switch do {
	case killAPI, stopAPI:
		s.Target, s.For = p.one(p.apis), p.upTo(5*time.Second)
	case killManager, stopManager:
		s.Target, s.For = p.one(p.managers), p.upTo(5*time.Second)
		if p.IntN(4) == 0 { // long enough to be marked LOST
			s.For += lostAfter
		}
	case killStranded, stopStranded:
		s.Target, s.Server, s.For = p.one(p.managers), database, p.between(lease, 8*time.Second)
	case powerCut:
		s.For = p.upTo(2 * time.Second)
	case pauseAPI:
		s.Target, s.For = p.one(p.apis), p.between(100*time.Millisecond, 2*lease)
	case pauseManager:
		s.Target, s.For = p.one(p.managers), p.between(100*time.Millisecond, 2*lease)
	case secondManager:
		s.Target = p.one(p.managers)
	case takeOver:
		s.Target, s.For = p.one(p.managers), p.between(lease+500*time.Millisecond, 3*lease)
	case killBroker, stopBroker, wipeBroker, killDatabase:
		s.For = p.upTo(4 * time.Second)
	case pauseDatabase:
		s.For = p.between(100*time.Millisecond, 2*lease)
	case alarm:
		s.For = p.between(time.Second, 5*time.Second)
	case cutAll, slowAll:
		s.Server, s.For = p.one([]string{broker, database}), p.between(500*time.Millisecond, 5*time.Second)
	default: // a single link
		s.Target = p.one(p.managers)
		if p.IntN(3) == 0 {
			s.Target = p.one(p.apis)
		}
		s.Server, s.For = p.one([]string{broker, database}), p.between(500*time.Millisecond, 7*time.Second)
	}
	return s
}

func (p planner) one(of []string) string { return of[p.IntN(len(of))] }

func (p planner) upTo(d time.Duration) time.Duration { return p.between(0, d) }

func (p planner) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.Int64N(int64(high-low)+1))
}
