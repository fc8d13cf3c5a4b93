package endpointcheck

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// request is a request of the endpoint, as the front has seen it.
type request struct {
	operation string
	body      []byte
	at        time.Time // when it came
	status    int       // of the gateway's answer; 0 before it, and if the answer was spoiled
	answer    []byte
	answered  time.Time
}

// about reports whether a request has an operation on a task. Ids are compared
// exactly: an endpoint that rounds them asks about another task.
func (r *request) about(operation string, taskID int64) bool {
	if r.operation != operation {
		return false
	}
	var items struct {
		Messages []protocol.Message
		Starts   []protocol.Started
		Ends     []protocol.End
	}
	if json.Unmarshal(r.body, &items) != nil {
		return false
	}
	return slices.ContainsFunc(items.Messages, func(m protocol.Message) bool { return m.TaskID == taskID }) ||
		slices.ContainsFunc(items.Starts, func(s protocol.Started) bool { return s.TaskID == taskID }) ||
		slices.ContainsFunc(items.Ends, func(e protocol.End) bool { return e.TaskID == taskID })
}

// end returns what a request to finish says about a task.
func (r *request) end(taskID int64) (end protocol.End, ok bool) {
	var finish protocol.Finish
	if r.operation != protocol.OpFinish || json.Unmarshal(r.body, &finish) != nil {
		return end, false
	}
	i := slices.IndexFunc(finish.Ends, func(e protocol.End) bool { return e.TaskID == taskID })
	if i < 0 {
		return end, false
	}
	return finish.Ends[i], true
}

// fate answers a request in place of the gateway; pass passes it on.
type fate func(w http.ResponseWriter, pass func(w http.ResponseWriter))

// spoiler returns the fate of a request, or nil.
type spoiler func(r *request) fate

// front stands between the endpoint and the gateway.
type front struct {
	next http.Handler

	mu    sync.Mutex
	seen  []*request
	spoil spoiler
}

// ServeHTTP notes the request, and passes it on unless it is spoiled.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	seen := &request{operation: strings.TrimPrefix(r.URL.Path, protocol.Prefix), body: body, at: time.Now()}
	f.mu.Lock()
	f.seen = append(f.seen, seen)
	spoil := f.spoil
	f.mu.Unlock()
	pass := func(w http.ResponseWriter) { f.next.ServeHTTP(w, r) }
	if spoil != nil {
		if answer := spoil(seen); answer != nil {
			defer f.done(seen, 0, nil)
			answer(w, pass)
			return
		}
	}
	kept := &keeper{ResponseWriter: w, status: http.StatusOK}
	pass(kept)
	f.done(seen, kept.status, kept.body.Bytes())
}

func (f *front) done(r *request, status int, answer []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.status, r.answer, r.answered = status, answer, time.Now()
}

// setSpoiler sets what spoils answers from now on; nil means nothing.
func (f *front) setSpoiler(s spoiler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spoil = s
}

// mark returns the number of requests so far.
func (f *front) mark() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// since returns copies of the requests after a mark that is true for.
func (f *front) since(mark int, is func(r *request) bool) (list []request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.seen[min(mark, len(f.seen)):] {
		if is(r) {
			list = append(list, *r)
		}
	}
	return list
}

// keeper keeps a copy of an answer.
type keeper struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader notes the status.
func (k *keeper) WriteHeader(status int) {
	k.status = status
	k.ResponseWriter.WriteHeader(status)
}

// Write keeps the body.
func (k *keeper) Write(p []byte) (int, error) {
	k.body.Write(p)
	return k.ResponseWriter.Write(p)
}

// refuse answers 503 with a Retry-After of a second.
func refuse(w http.ResponseWriter, _ func(http.ResponseWriter)) {
	document, _ := json.Marshal(protocol.Problem{
		Type: "urn:tasker:problem:overloaded", Title: "Overloaded", Status: http.StatusServiceUnavailable,
		Detail: "too many requests: this one was refused by the check", Instance: protocol.Prefix, Code: tasker.Overloaded,
	})
	header(w, "application/problem+json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(document)
}

// header sets the header of an answer of the gateway.
func header(w http.ResponseWriter, media string) {
	w.Header().Set("Content-Type", media)
	w.Header().Set(protocol.HeaderRevision, "1")
	w.Header().Set(protocol.HeaderTime, time.Now().UTC().Format(time.RFC3339Nano))
	w.Header().Set(protocol.HeaderTook, "0")
}

// lose has the gateway do what is asked, and cuts the connection in place of the
// answer.
func lose(_ http.ResponseWriter, pass func(http.ResponseWriter)) {
	pass(&keeper{ResponseWriter: nowhere{}})
	panic(http.ErrAbortHandler)
}

type nowhere struct{}

// Header returns a header that nobody sees.
func (nowhere) Header() http.Header { return http.Header{} }

// Write drops p.
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader does nothing.
func (nowhere) WriteHeader(int) {}

// proxy answers 200 with HTML, as some proxies do.
func proxy(w http.ResponseWriter, _ func(http.ResponseWriter)) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<html><body>Please log in</body></html>")
}

// notHeld answers a heartbeat: the lease is lost.
func notHeld(w http.ResponseWriter, _ func(http.ResponseWriter)) {
	header(w, "application/json")
	_, _ = io.WriteString(w, `{"lease_ms":2000,"heartbeat_ms":500,"held":false}`)
}
