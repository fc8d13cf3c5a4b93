package manager

import "time"

// HandAhead has a manager that does not run yet take its runs for very brief, so that
// it records tasks ahead of free slots.
func HandAhead(m *Manager) {
	for _, p := range m.pools.all() {
		p.turnover.average, p.turnover.last = time.Microsecond, time.Now().Add(time.Hour)
	}
}
