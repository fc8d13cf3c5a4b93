//go:build cluster

package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/taskerhq/tasker/test/promises"
)

// load posts tasks, to all endpoints and to some, and polls them, until it is
// stopped.
type load struct {
	s    *system
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	posts []promises.Post
	seen  []promises.Answer
	sent  []span // POSTs that were answered SENT
}

type span struct{ began, ended time.Time }

const (
	posters   = 2
	postPause = 60 * time.Millisecond
	lookPause = 50 * time.Millisecond
)

func startLoad(s *system) *load {
	l := &load{s: s, stop: make(chan struct{})}
	for p := range posters {
		l.wg.Go(func() { l.post(p) })
	}
	l.wg.Go(l.look)
	return l
}

// end stops the load and waits until the last task is accepted.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// pause waits, and reports false if the load was stopped.
func (l *load) pause(length time.Duration) bool {
	select {
	case <-time.After(length):
		return true
	case <-l.stop:
		return false
	}
}

func (l *load) post(poster int) {
	targets := [][]string{nil, {l.s.endpoints[0]}, nil, l.s.endpoints[1:]}
	for i := 0; l.pause(postPause); i++ {
		post := promises.Post{
			Type: taskTypes[i%len(taskTypes)], Identifier: fmt.Sprintf("p%d-%d", poster, i),
			Endpoints: targets[i/len(taskTypes)%len(targets)],
		}
		request := map[string]any{"identifier": post.Identifier}
		if post.Endpoints != nil {
			request["endpoints"] = post.Endpoints
		}
		body, err := json.Marshal(request)
		if err != nil {
			l.s.t.Error(err)
			return
		}
		deadline := time.Now().Add(timeout)
		for post.Accepted.IsZero() {
			var task struct {
				ID     int64
				Status json.RawMessage // a number in an error answer
			}
			began := time.Now()
			post.Tries++
			code, err := l.s.request(http.MethodPost, "/"+post.Type, string(body), &task)
			switch {
			case err == nil && (code == http.StatusCreated || code == http.StatusOK):
				post.Accepted, post.TaskID = time.Now(), task.ID
			case l.s.t.Context().Err() != nil:
				return
			case time.Now().After(deadline):
				l.s.t.Errorf("%s/%s not accepted: %d, %v", post.Type, post.Identifier, code, err)
				return
			case code >= 400 && code < 500:
				l.s.t.Errorf("%s/%s refused: %d", post.Type, post.Identifier, code)
				return
			}
			if string(task.Status) == `"SENT"` {
				l.mu.Lock()
				l.sent = append(l.sent, span{began, time.Now()})
				l.mu.Unlock()
			}
		}
		l.mu.Lock()
		l.posts = append(l.posts, post)
		l.mu.Unlock()
	}
}

// look polls the newest tasks, which change.
func (l *load) look() {
	for i := 0; l.pause(lookPause); i++ {
		l.mu.Lock()
		n := len(l.posts)
		var post promises.Post
		if n > 0 {
			post = l.posts[n-1-i%min(n, 20)]
		}
		l.mu.Unlock()
		if n == 0 {
			continue
		}
		a, err := l.s.answer(post.Type, post.Identifier)
		if err != nil {
			if l.s.t.Context().Err() == nil {
				l.s.t.Errorf("GET of an accepted task: %v", err)
			}
			return
		}
		l.mu.Lock()
		l.seen = append(l.seen, a)
		l.mu.Unlock()
	}
}

// untilSent waits until count POSTs that began after a time were answered SENT,
// and returns the time from then until the first answer.
func (l *load) untilSent(after time.Time, count int) time.Duration {
	l.s.t.Helper()
	var last string
	var first time.Time
	until(l.s.t, "publishing to resume", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for _, sent := range l.sent {
			if sent.began.After(after) {
				if n++; n == 1 || sent.ended.Before(first) {
					first = sent.ended
				}
			}
		}
		last = fmt.Sprintf("%d of %d tasks are sent", n, count)
		return n >= count
	}, &last)
	return first.Sub(after)
}
