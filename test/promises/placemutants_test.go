package promises

func placeMutants() []mutant {
	return []mutant{
		{"run at more endpoints than there are places", "work", true, func(m *mutation) {
			postOf(m.h, m.a.key()).Deliver = len(m.a.Results) - 1
		}, "more-than-its-places"},
		{"passed on though its only attempt had begun", "once", true, func(m *mutation) {
			postOf(m.h, m.a.key()).Deliver = len(m.a.Results) - 1
			m.set(stateCanceled, errnrRemoved)
		}, "more-than-its-places"},
		{"passed on without places", "once", true, func(m *mutation) {
			m.dropRuns(1)
			m.row.Payload, m.row.Attempt = nil, 0
			m.set(stateCanceled, errnrRemoved)
		}, "canceled-by-nobody"},
	}
}

// keepPlaces gives tasks in a history that it keeps as many places as they have endpoints.
func keepPlaces(h *History) {
	for i := range h.Final {
		if post := postOf(h, h.Final[i].key()); post != nil {
			post.Deliver = len(h.Final[i].Results)
		}
	}
}
