package promises

import "slices"

// slots is how many tasks of a type an endpoint runs at once at most.
const slots = 4

// holds reports whether a pause or drain is about a place.
func (h *Hold) holds(p place) bool {
	switch {
	case h.Endpoint != "":
		return h.Endpoint == p.endpoint
	case h.Identifier != "":
		return task{h.Type, h.Identifier} == p.task
	}
	return h.Type == p.task.kind
}

// allowance returns the name under which the answer has a place if it was running, and
// how many runs may begin under that name all the same: their attempts were counted, and
// their handlers were about to be called.
func (h *Hold) allowance(p place) (name string, runs int) {
	name = p.endpoint
	if h.Endpoint != "" {
		name = p.task.String()
	}
	switch {
	case !slices.Contains(h.Running, name):
		return name, 0
	case h.Endpoint == "" && h.Identifier == "":
		return name, slots
	}
	return name, 1
}

// No run starts after a pause or a drain was answered, until its end, unless the answer
// says that it was running, or its process was paused right before.
func runWhileHeld(w *world, report reportFunc) {
	for i := range w.Holds {
		h := &w.Holds[i]
		begun := map[string]int{}
		for _, r := range w.runs {
			if r.start == nil || !h.holds(r.place) || !r.start.Time.After(h.Answered) || !r.start.Time.Before(h.Until) {
				continue
			}
			if w.struck(r.endpoint, r.pid, h.Answered, r.start.Time, FaultPause) {
				continue
			}
			name, allowed := h.allowance(r.place)
			if begun[name]++; begun[name] > allowed {
				report("%v: attempt %d started at %s, but a pause or drain (%q, %q, %q) was answered at %s, until %s, with %v running",
					r.place, r.attempt, clock(r.start.Time), h.Endpoint, h.Type, h.Identifier, clock(h.Answered), clock(h.Until), h.Running)
			}
		}
	}
}
