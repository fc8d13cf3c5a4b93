package main

import (
	"context"
	"fmt"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

// storedPatience is how long the stored statuses may take to follow the
// computed ones, once all tasks are at their end.
const storedPatience = 30 * time.Second

// afterEnd looks at what the answers about single tasks, which compute their
// status, do not show: the lists of tasks, which have the stored one, and the
// dead letters, of which no fault here is a reason. It wants every task at its
// end.
func (c *clients) afterEnd(ctx context.Context) []promises.Violation {
	var found []promises.Violation
	limited, cancel := context.WithTimeout(ctx, storedPatience)
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

// awaitNone waits until a list is empty, and says what it holds where it never
// is.
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
		if !pause(ctx, 200*time.Millisecond) {
			return fmt.Sprintf("%s is not empty when all tasks are at their end: %+v %+v %v", path, list.Tasks, list.Dead, err)
		}
	}
}
