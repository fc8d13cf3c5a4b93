package api

import (
	"strings"
	"sync"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxPlannedNames bounds the names in all remembered plans together.
	maxPlannedNames = 100_000
	// maxDifferences is how many endpoints an error names.
	maxDifferences = 10
)

// plans remembers the endpoints of the latest plans, so that an error can say
// who joined and who left. It is only for that: the digest decides.
type plans struct {
	mu     sync.Mutex
	names  map[string][]string
	oldest []string // digests, the oldest first
	size   int      // of all names
}

func (p *plans) remember(digest string, names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.names[digest]; ok {
		return
	}
	if p.names == nil {
		p.names = map[string][]string{}
	}
	p.names[digest] = names
	p.oldest = append(p.oldest, digest)
	p.size += len(names) + 1
	for p.size > maxPlannedNames && len(p.oldest) > 1 {
		p.size -= len(p.names[p.oldest[0]]) + 1
		delete(p.names, p.oldest[0])
		p.oldest = p.oldest[1:]
	}
}

// check returns a [tasker.Conflict] if a task would not do what was planned.
func (p *plans) check(planned, now string, names []string) error {
	if planned == "" || planned == now {
		return nil
	}
	p.mu.Lock()
	before, known := p.names[planned]
	p.mu.Unlock()
	why := "this API does not remember the plan, so it cannot say what is different"
	if known {
		var differences []string
		if joined := without(names, before); len(joined) > 0 {
			differences = append(differences, "joined: "+text.Some(joined, maxDifferences))
		}
		if left := without(before, names); len(left) > 0 {
			differences = append(differences, "left: "+text.Some(left, maxDifferences))
		}
		if len(differences) == 0 {
			differences = append(differences, "the endpoints are the same, the payload or the task type is not")
		}
		why = strings.Join(differences, "; ")
	}
	err := tasker.Errorf(tasker.Conflict, "task is not as planned: %s: ask for another plan with ?dry_run=true", why)
	err.Field = "/plan"
	return err
}

// without returns the names that are not among others.
func without(names, others []string) (rest []string) {
	known := make(map[string]bool, len(others))
	for _, name := range others {
		known[name] = true
	}
	for _, name := range names {
		if !known[name] {
			rest = append(rest, name)
		}
	}
	return rest
}
