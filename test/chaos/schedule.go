package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

const (
	scheduleCount = 12
	// slotDistance is the shortest one that the API accepts.
	slotDistance = time.Minute
	// scheduleTimeout is how long after its last slot a schedule may take.
	scheduleTimeout = 90 * time.Second
)

// schedule is a schedule to store.
type schedule struct {
	promises.Schedule
	body []byte
}

// newSchedules generates the schedules of a run from the seed. The slots of all of them
// are spread over the load.
func newSchedules(seed uint64, length time.Duration, begin time.Time) []schedule {
	r := rand.New(rand.NewPCG(seed, 3))
	types := work.Types()
	list := make([]schedule, scheduleCount)
	for i := range list {
		s := promises.Schedule{
			Name: fmt.Sprintf("s%d-%02d", seed%100000, i), Type: types[r.IntN(len(types))].Name,
			Missed: "all", Overlap: []string{"allow", "allow", "skip", "queue"}[r.IntN(4)],
		}
		if r.IntN(4) == 0 {
			s.Missed = []string{"last", "skip"}[r.IntN(2)]
		}
		first := min(slotDistance, length) * time.Duration(i+1) / (scheduleCount + 1)
		for after := first; after < length || len(s.At) == 0; after += slotDistance {
			s.At = append(s.At, begin.Add(after).UTC().Truncate(time.Second))
		}
		// A map of texts, numbers and times is always encoded.
		body, _ := json.Marshal(map[string]any{
			"at": s.At, "missed": s.Missed, "overlap": s.Overlap,
			"task": map[string]any{"type": s.Type, "payload": work.Payload{Milliseconds: r.IntN(2000)}},
		})
		list[i] = schedule{s, body}
	}
	return list
}

// schedule stores schedules, and returns when none has a slot left.
func (c *clients) schedule(ctx context.Context, list []schedule) {
	var storing sync.WaitGroup
	for _, s := range list {
		storing.Go(func() {
			path := "/v1/schedules/" + s.Name
			err := c.keepAsking(ctx, http.MethodPut, path, s.body, &struct{}{})
			if err == nil {
				s.Accepted = time.Now()
			}
			last := s.At[len(s.At)-1]
			// One that is stored too late never fires.
			refused := errors.Is(err, errRefused) && time.Now().Before(last)
			limited, stop := context.WithDeadline(ctx, last.Add(scheduleTimeout))
			defer stop()
			// One whose answer was lost may be stored, and fire, all the same.
			for !c.lookAt(ctx, &s.Schedule) && sleep(limited, time.Second) {
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.schedules = append(c.schedules, s.Schedule)
			if refused {
				detail := fmt.Sprintf("%s: %v", path, err)
				c.wrong = append(c.wrong, promises.Violation{Promise: 4, Rule: "schedule-refused", Detail: detail})
			}
		})
	}
	storing.Wait()
}

// lookAt reads what became of the slots of a schedule, adds the tasks of those that have
// fired to the posts, and reports whether none is left.
func (c *clients) lookAt(ctx context.Context, s *promises.Schedule) (over bool) {
	var answer struct {
		Next   *time.Time      `json:"next_time"`
		Queued *time.Time      `json:"queued_time"`
		Slots  []promises.Slot `json:"slots"` // the last ten
	}
	if get(ctx, c.base()+"/v1/schedules/"+s.Name, &answer) != nil {
		return false
	}
	for _, slot := range answer.Slots {
		known := slices.IndexFunc(s.Slots, func(k promises.Slot) bool { return k.Time.Equal(slot.Time) })
		if known >= 0 && s.Slots[known] == slot {
			continue
		}
		if slot.Identifier != "" {
			post := promises.Post{Type: s.Type, Identifier: slot.Identifier, Accepted: time.Now(), StartTime: slot.Time}
			c.mu.Lock()
			c.started++
			c.posts = append(c.posts, post)
			c.mu.Unlock()
		}
		s.Slots = append(s.Slots, slot)
	}
	return answer.Next == nil && answer.Queued == nil
}
