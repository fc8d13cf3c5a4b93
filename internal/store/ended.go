package store

import "github.com/taskerhq/tasker"

// OnEnded sets a function that is called after tasks of a type have been moved to a
// final status. Call it before the store is used.
func (s *DB) OnEnded(fn func(taskType string, status tasker.TaskStatus, tasks int)) { s.ended = fn }

// endedTasks counts the tasks that a transaction moves to a final status.
type endedTasks map[endedKind]int

type endedKind struct {
	taskType string
	status   tasker.TaskStatus
}

func (e endedTasks) add(taskType string, status tasker.TaskStatus) {
	if status.Final() {
		e[endedKind{taskType, status}]++
	}
}

// report passes on what a transaction that has committed moved.
func (s *DB) report(ended endedTasks) {
	if s.ended == nil {
		return
	}
	for kind, n := range ended {
		s.ended(kind.taskType, kind.status, n)
	}
}
