package main

import (
	"context"
	"fmt"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

// storedTimeout is how long the stored statuses may lag behind the computed
// ones once all tasks have ended.
const storedTimeout = 30 * time.Second

// afterEnd checks what GETs of single tasks, which compute their status, do not
// show: the lists of tasks, which use the stored status, and the dead letters,
// which no fault here should cause. All tasks must have ended.
func (c *clients) afterEnd(ctx context.Context) []promises.Violation {
	var found []promises.Violation
	limited, cancel := context.WithTimeout(ctx, storedTimeout)
	defer cancel()
	for _, t := range work.Types() {
		for _, status := range []string{"CREATED", "SENT", "INCOMPLETE"} {
			if detail := c.awaitNone(limited, "/"+t.Name+"?status="+status); detail != "" {
				found = append(found, promises.Violation{Promise: 4, Rule: "stored-status-behind", Detail: detail})
			}
		}
	}
	if detail := c.awaitNone(limited, "/v1/dead-letters"); detail != "" {
		found = append(found, promises.Violation{Promise: 1, Rule: "dead-letter", Detail: detail})
	}
	return found
}

// awaitNone waits until a list is empty, and returns what it still contains
// when ctx ends.
func (c *clients) awaitNone(ctx context.Context, path string) string {
	for {
		var list struct {
			Tasks []struct{ Identifier, Status string }
			Dead  []struct{ Queue, Reason string } `json:"dead_letters"`
		}
		err := get(context.WithoutCancel(ctx), c.base()+path, &list)
		if err == nil && len(list.Tasks) == 0 && len(list.Dead) == 0 {
			return ""
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return fmt.Sprintf("%s is not empty after all tasks have ended: %+v %+v %v", path, list.Tasks, list.Dead, err)
		}
	}
}
