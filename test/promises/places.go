package promises

// A task for so many endpoints of their own choice runs at no more of them, and once each.
func moreThanItsPlaces(w *world, report reportFunc) {
	ran := map[task]map[string]bool{}
	for _, r := range w.runs {
		if r.start == nil {
			continue
		}
		if ran[r.task] == nil {
			ran[r.task] = map[string]bool{}
		}
		ran[r.task][r.endpoint] = true
	}
	for key, posts := range w.posts {
		if n := posts[0].Deliver; n > 0 && len(ran[key]) > n {
			report("%v has %d places, but has run at %d endpoints: %v", key, n, len(ran[key]), sorted(counted(ran[key])))
		}
	}
}
