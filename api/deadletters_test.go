package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/broker"
)

func (s *fakeStore) ListDeadLetters(_ context.Context, q tasker.DeadLetterQuery) ([]tasker.DeadLetter, error) {
	defer s.begin("ListDeadLetters")()
	var letters []tasker.DeadLetter
	for _, l := range slices.Backward(s.letters) {
		if (q.Before == 0 || l.ID < q.Before) && len(letters) < q.Limit {
			l.Body = l.Body[:min(len(l.Body), tasker.DeadLetterPreview)]
			letters = append(letters, l)
		}
	}
	return letters, s.err
}

func (s *fakeStore) FindDeadLetter(_ context.Context, id int64) (tasker.DeadLetter, error) {
	defer s.begin("FindDeadLetter")()
	return s.findDeadLetter(id)
}

func (s *fakeStore) findDeadLetter(id int64) (tasker.DeadLetter, error) {
	if s.err != nil {
		return tasker.DeadLetter{}, s.err
	}
	for _, l := range s.letters {
		if l.ID == id {
			return l, nil
		}
	}
	return tasker.DeadLetter{}, tasker.Errorf(tasker.NotFound, "dead letter %d not found", id)
}

func (s *fakeStore) DeleteDeadLetter(_ context.Context, id int64) error {
	defer s.begin("DeleteDeadLetter")()
	_, err := s.findDeadLetter(id)
	s.letters = slices.DeleteFunc(s.letters, func(l tasker.DeadLetter) bool { return l.ID == id })
	return err
}

// Requeue is that of a Requeuer without a broker.
func (s *fakeStore) Requeue(_ context.Context, id int64) error {
	defer s.begin("Requeue")()
	if _, err := s.findDeadLetter(id); err != nil || s.requeue != nil {
		if err == nil {
			err = s.requeue
		}
		return err
	}
	s.letters = slices.DeleteFunc(s.letters, func(l tasker.DeadLetter) bool { return l.ID == id })
	return nil
}

func (s *fakeStore) bury(letters ...tasker.DeadLetter) {
	defer s.begin("bury")()
	for _, l := range letters {
		l.ID, l.Size = int64(len(s.letters)+1), int64(len(l.Body))
		if l.Time.IsZero() {
			l.Time = s.now
		}
		s.letters = append(s.letters, l)
	}
}

func TestListDeadLetters(t *testing.T) {
	h := newHarness(t)
	if a := h.get(t, "/v1/dead-letters"); string(a.body) != `{"dead_letters":[],"next":null}`+"\n" {
		t.Errorf("an empty list is %s", a.body)
	}
	h.store.bury(make([]tasker.DeadLetter, 5)...)
	var ids []int64
	for path := "/v1/dead-letters?limit=2"; path != ""; {
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		for _, l := range decode[client.DeadLetterPage](t, a.body).DeadLetters {
			ids = append(ids, l.ID)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	if !slices.Equal(ids, []int64{5, 4, 3, 2, 1}) {
		t.Errorf("the pages hold %v", ids)
	}
	for path, fields := range map[string][]string{
		"/v1/dead-letters?limit=0&cursor=x": {"?limit", "?cursor"},
		"/v1/dead-letters?cursor=01":        {"?cursor"},
		"/v1/dead-letters?queue=a":          {"?queue"},
		"/v1/dead-letters/1?verbose=1":      {"?verbose"},
	} {
		a := h.get(t, path)
		a.want(t, http.StatusUnprocessableEntity)
		if got := a.problem(t).fields(); !slices.Equal(got, fields) {
			t.Errorf("%s: fields %q, want %q", path, got, fields)
		}
	}
	h.get(t, "/v1/dead-letters?%").want(t, http.StatusBadRequest)
}

func TestShowDeadLetters(t *testing.T) {
	h := newHarness(t)
	long := []byte(strings.Repeat("x", tasker.DeadLetterPreview-1) + "äöü")
	binary := append([]byte{0xff, 0}, bytes.Repeat([]byte{0xfe}, 2000)...)
	h.store.bury(
		tasker.DeadLetter{Reason: "no <JSON>", Queue: "tasker.worker.console1", MessageID: "m", Body: []byte(`{"a":"<b>"}`)},
		tasker.DeadLetter{Reason: "rejected", Queue: "tasker.worker.any", Body: long},
		tasker.DeadLetter{Queue: "amq.gen-x", Body: binary},
		tasker.DeadLetter{},
	)
	for i, want := range []string{
		`{"id":1,"reason":"no <JSON>","queue":"tasker.worker.console1","task_type":"worker","endpoint":"console1","message_id":"m",` +
			`"time":"2015-05-06T01:14:24.103482Z","size":11,"body":"{\"a\":\"<b>\"}"}`,
		`{"id":2,"reason":"rejected","queue":"tasker.worker.any","task_type":"worker","message_id":"",` +
			`"time":"2015-05-06T01:14:24.103482Z","size":1029,"body":"` + string(long) + `"}`,
		`{"id":3,"reason":"","queue":"amq.gen-x","message_id":"",` +
			`"time":"2015-05-06T01:14:24.103482Z","size":2002,"body_base64":"` + base64.StdEncoding.EncodeToString(binary) + `"}`,
		`{"id":4,"reason":"","queue":"","message_id":"","time":"2015-05-06T01:14:24.103482Z","size":0,"body":""}`,
	} {
		a := h.get(t, "/v1/dead-letters/"+string(rune('1'+i)))
		a.want(t, http.StatusOK)
		if string(a.body) != want+"\n" {
			t.Errorf("got  %s\nwant %s", a.body, want)
		}
	}
	list := decode[client.DeadLetterPage](t, h.get(t, "/v1/dead-letters").body).DeadLetters
	if l := list[2]; !l.Truncated || l.Size != 1029 || l.Body == nil || *l.Body != strings.Repeat("x", 1023) {
		t.Errorf("a long text is listed as %+v", l)
	}
	if l := list[1]; !l.Truncated || l.Body != nil || !bytes.Equal(l.BodyBase64, binary[:1024]) {
		t.Errorf("long bytes are listed as %+v", l)
	}
	if list[3].Truncated || list[0].Truncated {
		t.Error("a short body is called truncated")
	}
}

func TestSettleDeadLetters(t *testing.T) {
	const requeue = "/v1/dead-letters/1/requeue"
	h := newHarness(t)
	h.store.bury(make([]tasker.DeadLetter, 2)...)

	a := h.do(t, http.MethodDelete, "/v1/dead-letters/2", nil)
	a.want(t, http.StatusNoContent)
	if len(a.body) != 0 {
		t.Errorf("a body: %s", a.body)
	}
	h.do(t, http.MethodDelete, "/v1/dead-letters/2", nil).want(t, http.StatusNotFound)
	h.do(t, http.MethodDelete, "/v1/dead-letters/1?%", nil).want(t, http.StatusBadRequest)
	h.do(t, http.MethodDelete, "/v1/dead-letters/1?all=1", nil).want(t, http.StatusUnprocessableEntity)
	h.get(t, "/v1/dead-letters/1?%").want(t, http.StatusBadRequest)
	h.do(t, http.MethodPost, requeue+"?%", nil).want(t, http.StatusBadRequest)
	h.do(t, http.MethodPost, requeue+"?all=1", nil).want(t, http.StatusUnprocessableEntity)

	h.store.requeue = tasker.Errorf(tasker.Conflict, "endpoint console1 has no queue now")
	a = h.do(t, http.MethodPost, requeue, nil)
	a.want(t, http.StatusConflict)
	if p := a.problem(t); p.Detail != "endpoint console1 has no queue now" {
		t.Errorf("detail %q", p.Detail)
	}
	h.store.requeue = nil
	// A page that somebody is looking at cannot do it.
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		h.do(t, http.MethodPost, requeue, nil, headers...).want(t, http.StatusMisdirectedRequest)
	}
	h.get(t, "/v1/dead-letters/1").want(t, http.StatusOK)
	h.do(t, http.MethodPost, requeue, nil).want(t, http.StatusNoContent)
	h.do(t, http.MethodPost, requeue, nil).want(t, http.StatusNotFound)
	for _, id := range []string{"0", "-1", "01", "x", "99999999999999999999", "1.0", "%20"} {
		h.get(t, "/v1/dead-letters/"+id).want(t, http.StatusNotFound)
		h.do(t, http.MethodDelete, "/v1/dead-letters/"+id, nil).want(t, http.StatusNotFound)
		h.do(t, http.MethodPost, "/v1/dead-letters/"+id+"/requeue", nil).want(t, http.StatusNotFound)
	}
}

// A dead letter of the embedded broker, requeued to an endpoint that has a
// queue, and to one that has none.
func TestEndToEndDeadLetter(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for i, queue := range []string{"tasker.worker.console1", "tasker.worker.console9"} {
		if _, err := s.db.DeadLetters.StoreDeadLetter(ctx, tasker.DeadLetter{Key: queue, Queue: queue, MessageID: "m", Body: []byte("body")}); err != nil {
			t.Fatal(i, err)
		}
	}
	a := s.do(t, http.MethodPost, "/v1/dead-letters/2/requeue", nil)
	a.want(t, http.StatusConflict)
	if p := a.problem(t); !strings.Contains(p.Detail, "endpoint console9 has no queue") {
		t.Errorf("detail %q", p.Detail)
	}
	arrived, ready, ended := make(chan string, 1), make(chan bool, 2), make(chan error, 1)
	consuming, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		ended <- s.broker.Consume(consuming, broker.Subscription{
			Queue: broker.Queue{TaskType: "worker", Endpoint: "console1"},
			Ready: func(ok bool) { ready <- ok },
			Deliver: func(d broker.Delivery) {
				arrived <- d.MessageID() + " " + string(d.Body())
				_ = d.Ack()
			},
		})
	}()
	<-ready
	s.do(t, http.MethodPost, "/v1/dead-letters/1/requeue", nil).want(t, http.StatusNoContent)
	select {
	case got := <-arrived:
		if got != "m body" {
			t.Errorf("the endpoint got %q", got)
		}
	case <-time.After(5 * time.Minute):
		t.Error("the endpoint got nothing")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	s.get(t, "/v1/dead-letters/1").want(t, http.StatusNotFound)
	s.do(t, http.MethodDelete, "/v1/dead-letters/2", nil).want(t, http.StatusNoContent)
	if err := s.broker.Close(); err != nil {
		t.Fatal(err)
	}
}
