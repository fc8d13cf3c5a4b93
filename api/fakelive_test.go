package api_test

import (
	"cmp"
	"context"
	"slices"

	"github.com/taskerhq/tasker"
)

// fakeAttempt is an attempt with its log.
type fakeAttempt struct {
	tasker.ResultKey
	tasker.Attempt
	lines []tasker.LogLine
}

func (s *fakeStore) FindResult(_ context.Context, taskID int64, endpoint string) (tasker.TaskResult, error) {
	defer s.begin("FindResult")()
	for _, r := range s.results {
		if r.TaskID == taskID && r.Endpoint == endpoint {
			return r, s.err
		}
	}
	return tasker.TaskResult{}, cmp.Or(s.err, error(tasker.Errorf(tasker.NotFound, "no result")))
}

func (s *fakeStore) PeekResultsOf(_ context.Context, taskID int64, endpoints []string) (results []tasker.TaskResult, err error) {
	defer s.begin("PeekResultsOf")()
	if s.failPeek {
		s.failPeek = false
		return nil, tasker.Errorf(tasker.Unavailable, "the database is away")
	}
	for _, r := range s.results {
		if r.TaskID == taskID && slices.Contains(endpoints, r.Endpoint) {
			r.Payload, r.PayloadSize = nil, int64(len(r.Payload))
			results = append(results, r)
		}
	}
	return results, s.err
}

func (s *fakeStore) Attempts(_ context.Context, taskID int64, endpoint string) (attempts []tasker.Attempt, err error) {
	defer s.begin("Attempts")()
	for _, a := range s.attempts {
		if a.TaskID == taskID && a.Endpoint == endpoint {
			attempts = append(attempts, a.Attempt)
		}
	}
	return attempts, s.err
}

// LogLines returns whole chunks, as a store may: some lines before and after those
// requested.
func (s *fakeStore) LogLines(_ context.Context, taskID int64, endpoint string, attempt int, from int64, limit int) (lines []tasker.LogLine, err error) {
	defer s.begin("LogLines")()
	for _, a := range s.attempts {
		if a.TaskID != taskID || a.Endpoint != endpoint || a.Attempt.Attempt != attempt {
			continue
		}
		for _, line := range a.lines {
			if line.Number+max(1, line.LeftOut) > from-3 && len(lines) < limit+3 {
				lines = append(lines, line)
			}
		}
	}
	return lines, s.err
}

func (s *fakeStore) LogChunksAfter(_ context.Context, taskID, afterID int64, limit int) (chunks []tasker.LogChunk, err error) {
	defer s.begin("LogChunksAfter")()
	for _, c := range s.chunks {
		if c.TaskID == taskID && c.ID > afterID {
			chunks = append(chunks, c)
		}
	}
	slices.SortFunc(chunks, func(a, b tasker.LogChunk) int { return cmp.Compare(a.ID, b.ID) })
	return chunks[:min(limit, len(chunks))], s.err
}

func (s *fakeStore) ChangedTasks(_ context.Context, after tasker.ChangePosition, limit int, known func(tasker.ChangePosition) bool) (tasks []tasker.Task, next tasker.ChangePosition, more bool, err error) {
	defer s.begin("ChangedTasks")()
	for _, t := range s.tasks {
		if c := t.LastModifiedTime.Compare(after.LastModifiedTime); c > 0 || c == 0 && t.ID > after.ID {
			tasks = append(tasks, t)
		}
	}
	slices.SortFunc(tasks, func(a, b tasker.Task) int {
		return cmp.Or(a.LastModifiedTime.Compare(b.LastModifiedTime), cmp.Compare(a.ID, b.ID))
	})
	more = len(tasks) > limit
	tasks = tasks[:min(limit, len(tasks))]
	if len(tasks) > 0 {
		last := tasks[len(tasks)-1]
		after = tasker.ChangePosition{LastModifiedTime: last.LastModifiedTime, ID: last.ID}
	}
	tasks = slices.DeleteFunc(tasks, func(t tasker.Task) bool {
		return known != nil && known(tasker.ChangePosition{LastModifiedTime: t.LastModifiedTime, ID: t.ID})
	})
	for i := range tasks {
		tasks[i].Payload = nil
	}
	return tasks, after, more, s.err
}

func (s *fakeStore) ResultNews(_ context.Context, keys []tasker.ResultKey) (news []tasker.ResultNews, err error) {
	defer s.begin("ResultNews")()
	s.newsAsked = append(s.newsAsked, keys...)
	for _, r := range s.results {
		key := tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}
		if !slices.Contains(keys, key) {
			continue
		}
		n := tasker.ResultNews{ResultKey: key, Attempt: r.Attempt, State: r.State, Errnr: r.Errnr, Progress: r.Progress}
		for _, t := range s.tasks {
			if t.ID == r.TaskID {
				n.Type, n.Identifier = t.Type, t.Identifier
			}
		}
		news = append(news, n)
	}
	return news, s.err
}

// change does something with the store's contents.
func (s *fakeStore) change(f func()) {
	defer s.begin("change")()
	f()
}

// appendLog stores a piece of a log, and counts it in the attempt.
func (s *fakeStore) appendLog(id int64, key tasker.ResultKey, attempt int, lines ...tasker.LogLine) {
	s.change(func() {
		s.chunks = append(s.chunks, tasker.LogChunk{ID: id, ResultKey: key, Attempt: attempt, Lines: lines})
		for i := range s.attempts {
			if a := &s.attempts[i]; a.ResultKey == key && a.Attempt.Attempt == attempt {
				a.lines = append(a.lines, lines...)
				last := lines[len(lines)-1]
				a.Log.Lines = max(a.Log.Lines, last.Number+max(1, last.LeftOut))
			}
		}
	})
}
