package manager

import (
	"cmp"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// place is the place of a waiting task in the order in which the tasks of a pool
// start. The zero value comes before all.
type place struct{ order, id int64 }

func placeOf(work *ledger.Work) place { return place{work.StartOrder, work.Task.ID} }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.id, b.id))
}

// after returns the place right after that of work.
func after(work *ledger.Work) place { return place{work.StartOrder, work.Task.ID + 1} }

// compareWork orders what waits in memory: first attempts that continue after a
// reboot, since they have begun, and then by place.
func compareWork(a, b ledger.Work) int {
	if first, second := a.AwaitsReboot != "", b.AwaitsReboot != ""; first != second {
		if first {
			return -1
		}
		return 1
	}
	return placeOf(&a).compare(placeOf(&b))
}

// doubt notes that the database may have waiting results that memory does not have,
// whatever their places: nothing starts from memory before they are read. The caller
// holds the lock.
func (p *pool) doubt() { p.behind, p.beyond = true, place{} }

// outdated reports whether what waits in memory may not be what comes first. The
// caller holds the lock.
func (p *pool) outdated() bool { return p.behind && p.beyond == place{} }

// mustRead reports whether the feeder has to read what waits before anything can
// start. The caller holds the lock.
func (p *pool) mustRead() bool {
	return p.canStart() && p.behind && (len(p.waiting) == 0 || p.outdated())
}

// countedAttempts returns the number of attempts of each active task, with the one that
// runs. The caller holds the lock.
func (p *pool) countedAttempts() map[int64]int {
	counted := make(map[int64]int, len(p.active))
	for id, r := range p.active {
		counted[id] = r.counted
	}
	return counted
}

// fits reports whether waiting work belongs into memory: whatever waits in the
// database only comes after it. What was recorded while the feeder reads belongs
// there, since the feeder may have missed it. The caller holds the lock.
func (p *pool) fits(work *ledger.Work) bool {
	switch {
	case !p.behind || p.refilling || !inDatabase(work):
		return true
	case p.outdated():
		return work.State != tasker.Received // the feeder reads only those
	}
	return placeOf(work).compare(p.beyond) < 0
}

// inDatabase reports whether the feeder finds the work again if memory forgets it.
func inDatabase(work *ledger.Work) bool {
	return work.State == tasker.Received || work.State == tasker.Retrying
}

// insert adds work to what waits in memory, at its place. If that is full, what comes
// last waits in the database only. The caller holds the lock.
func (p *pool) insert(work ledger.Work) {
	at, _ := slices.BinarySearchFunc(p.waiting, work, compareWork)
	p.waiting = slices.Insert(p.waiting, at, lean(work))
	p.queued[work.Task.ID] = true
	last := p.waiting[len(p.waiting)-1]
	if len(p.waiting) <= maxWaiting || !inDatabase(&last) {
		return
	}
	p.waiting = slices.Delete(p.waiting, len(p.waiting)-1, len(p.waiting))
	delete(p.queued, last.Task.ID)
	switch {
	case last.State == tasker.Retrying: // the next look at what is due finds it
	case p.refilling:
		p.doubt()
	case !p.outdated():
		p.behind, p.beyond = true, placeOf(&last)
	}
}
