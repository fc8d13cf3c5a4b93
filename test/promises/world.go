package promises

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// grace is how far apart the records of a fault and of its effect may be, since
// different processes write them. It is also how long a manager may hold a
// result that is not durable.
const grace = 2 * time.Second

// task identifies a task as clients do.
type task struct{ kind, identifier string }

func (t task) String() string { return t.kind + "/" + t.identifier }

// place is one endpoint's part of a task.
type place struct {
	task     task
	endpoint string
}

func (p place) String() string { return p.task.String() + " at " + p.endpoint }

// run is what the journal has of one run; start or end may be nil.
type run struct {
	place
	attempt    int
	pid        int
	start, end *Entry
}

// ended reports whether the handler finished with an outcome.
func (r *run) ended(outcome string) bool { return r.end != nil && r.end.Outcome == outcome }

// lasted returns the period known to belong to the run.
func (r *run) lasted() (from, to time.Time) {
	switch {
	case r.start == nil:
		return r.end.Time, r.end.Time
	case r.end == nil:
		return r.start.Time, r.start.Time
	}
	return r.start.Time, r.end.Time
}

// world is an indexed history. All lists are ordered by time.
type world struct {
	History
	types   map[string]Type
	posts   map[task][]Post
	runs    []*run
	at      map[place][]*run
	answers map[task][]*Answer // Seen, then Final
	final   map[task]*Answer
	served  map[int]map[string]bool // the endpoints of each manager process
	tasks   []task                  // posted, sorted
	places  []place                 // those with runs, sorted
	all     []*Answer               // all answers, grouped by task
}

func newWorld(h History) *world {
	w := &world{
		History: h,
		types:   map[string]Type{},
		posts:   map[task][]Post{},
		at:      map[place][]*run{},
		answers: map[task][]*Answer{},
		final:   map[task]*Answer{},
		served:  map[int]map[string]bool{},
	}
	for _, t := range h.Types {
		w.types[t.Name] = t
	}
	for _, p := range h.Posts {
		key := task{p.Type, p.Identifier}
		w.posts[key] = append(w.posts[key], p)
	}
	w.tasks = slices.SortedFunc(maps.Keys(w.posts), compareTasks)
	w.indexRuns()
	w.indexAnswers()
	return w
}

func (w *world) indexRuns() {
	entries := slices.Clone(w.Runs)
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	open := map[string]*run{}
	for i := range entries {
		e := &entries[i]
		if w.served[e.PID] == nil {
			w.served[e.PID] = map[string]bool{}
		}
		w.served[e.PID][e.Endpoint] = true
		if r := open[e.Run]; e.Event == "end" && r != nil && r.end == nil {
			r.end = e
			continue
		}
		r := &run{place: place{task{e.Type, e.Identifier}, e.Endpoint}, attempt: e.Attempt, pid: e.PID}
		if e.Event == "start" {
			r.start = e
			open[e.Run] = r
		} else {
			r.end = e
		}
		w.runs = append(w.runs, r)
		w.at[r.place] = append(w.at[r.place], r)
	}
	w.places = slices.SortedFunc(maps.Keys(w.at), func(a, b place) int {
		return cmp.Or(compareTasks(a.task, b.task), cmp.Compare(a.endpoint, b.endpoint))
	})
}

func (w *world) indexAnswers() {
	add := func(list []Answer) (last map[task]*Answer) {
		last = map[task]*Answer{}
		sorted := slices.Clone(list)
		slices.SortStableFunc(sorted, func(a, b Answer) int { return a.Time.Compare(b.Time) })
		for i := range sorted {
			key := task{sorted[i].Task.Type, sorted[i].Task.Identifier}
			w.answers[key] = append(w.answers[key], &sorted[i])
			last[key] = &sorted[i]
		}
		return last
	}
	add(w.Seen)
	w.final = add(w.Final)
	for _, key := range slices.SortedFunc(maps.Keys(w.answers), compareTasks) {
		w.all = append(w.all, w.answers[key]...)
	}
}

func compareTasks(a, b task) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.identifier, b.identifier))
}

// addressed returns the endpoints of a posted task.
func (w *world) addressed(t task) []string {
	if posts := w.posts[t]; len(posts) > 0 && posts[0].Endpoints != nil {
		return posts[0].Endpoints
	}
	return w.Endpoints
}

// started returns the run that started as an attempt, the first if there are
// several.
func (w *world) started(p place, attempt int) *run {
	for _, r := range w.at[p] {
		if r.start != nil && r.attempt == attempt {
			return r
		}
	}
	return nil
}

// finalRow returns a place's row in the final answer.
func (w *world) finalRow(p place) *Result {
	if a := w.final[p.task]; a != nil {
		return a.row(p.endpoint)
	}
	return nil
}

// finalRows calls each with all rows of the final answers, by task.
func (w *world) finalRows(each func(p place, row *Result)) {
	for _, key := range slices.SortedFunc(maps.Keys(w.final), compareTasks) {
		for i := range w.final[key].Results {
			row := &w.final[key].Results[i]
			each(place{key, row.Endpoint}, row)
		}
	}
}

// row returns an endpoint's row.
func (a *Answer) row(endpoint string) *Result {
	for i := range a.Results {
		if a.Results[i].Endpoint == endpoint {
			return &a.Results[i]
		}
	}
	return nil
}

func (a *Answer) key() task { return task{a.Task.Type, a.Task.Identifier} }

// read returns when the answer was read. If that was not recorded, answers are
// assumed to be ordered by their requests.
func (a *Answer) read() time.Time {
	if a.Answered.IsZero() {
		return a.Time
	}
	return a.Answered
}

// before returns the latest answer about the same task that was read before a
// was requested.
func (w *world) before(a *Answer) *Answer {
	var latest *Answer
	for _, other := range w.answers[a.key()] {
		if other == a {
			break
		}
		if !other.read().After(a.Time) && (latest == nil || !other.read().Before(latest.read())) {
			latest = other
		}
	}
	return latest
}

// struck reports whether the process pid, or with pid 0 any process that served
// endpoint, had a fault of one of the kinds between two times, plus or minus
// the grace. A pause and a takeover last until they are over. So does a stop,
// whose end is unknown if it was requested of one process.
func (w *world) struck(endpoint string, pid int, from, to time.Time, kinds ...string) bool {
	return slices.ContainsFunc(w.Faults, func(f Fault) bool {
		kind := f.Kind
		if kind == FaultTakeover {
			kind = FaultPause
		}
		if !slices.Contains(kinds, kind) || !w.strikes(f, endpoint, pid) {
			return false
		}
		until := f.Time
		if kind == FaultPause || kind == FaultStop {
			until = f.Until
			if until.Before(f.Time) || kind == FaultStop && pid != 0 {
				until = to
			}
		}
		return !f.Time.After(to.Add(grace)) && !until.Before(from.Add(-grace))
	})
}

func (w *world) strikes(f Fault, endpoint string, pid int) bool {
	if pid != 0 && f.PID != 0 {
		return f.PID == pid
	}
	return f.Target == endpoint || slices.Contains(f.Endpoints, endpoint) || f.PID != 0 && w.served[f.PID][endpoint]
}

// death returns when the process of a run was killed; ok is false if it was
// not.
func (w *world) death(r *run) (at time.Time, ok bool) {
	from, _ := r.lasted()
	for _, f := range w.Faults {
		if f.Kind == FaultKill && w.strikes(f, r.endpoint, r.pid) && !f.Time.Before(from.Add(-grace)) && (!ok || f.Time.Before(at)) {
			at, ok = f.Time, true
		}
	}
	return at, ok
}
