package promises

// A task for so many endpoints of their own choice runs at no more of them, and once each.
// One that was lost does not count if its place was passed on, for which the retry policy
// must allow another attempt.
func moreThanItsPlaces(w *world, report reportFunc) {
	ran, lost := map[task]map[string]bool{}, map[task]map[string]bool{}
	for _, r := range w.runs {
		if r.start == nil {
			continue
		}
		if ran[r.task] == nil {
			ran[r.task], lost[r.task] = map[string]bool{}, map[string]bool{}
		}
		if row := w.finalRow(r.place); row != nil && row.passedOn() {
			lost[r.task][r.endpoint] = true
			continue
		}
		ran[r.task][r.endpoint] = true
	}
	for key, posts := range w.posts {
		if n := posts[0].Deliver; n > 0 && len(ran[key]) > n {
			report("%v has %d places, but has run at %d endpoints: %v", key, n, len(ran[key]), sorted(counted(ran[key])))
		}
		if t, known := w.types[key.kind]; known && len(lost[key]) >= t.MaxAttempts {
			report("%v was passed on after it had run at %v, of %d attempts", key, sorted(counted(lost[key])), t.MaxAttempts)
		}
	}
}
