package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
)

// streamSettings are the periods and limits of streams of events. Tests have
// shorter ones.
type streamSettings struct {
	// poll is how often the database is read without a hint: hints may be lost.
	poll time.Duration
	// pause is the least time between two readings. A reading that took long is
	// followed by a longer one, so that no stream keeps the database busy.
	pause time.Duration
	// heartbeat is how often a comment is sent, so that a dead connection is
	// noticed on both sides.
	heartbeat time.Duration
	// write is the limit of one write: a reader that is slower is cut off, and
	// may resume.
	write time.Duration
	// overlap is how far back is read again: of what several processes write,
	// what was written first may be seen last.
	overlap time.Duration
	// late is the longest that a change of a task may take to become visible:
	// longer than a statement or a transaction is given. From time to time,
	// every lateLook, all is looked at that changed within it.
	late, lateLook time.Duration
	// patience is how long a task that has ended waits for the rest of its
	// logs.
	patience time.Duration
	// memory is how far back a stream of all tasks resumes.
	memory time.Duration
	now    func() time.Time
}

func defaultStreams() streamSettings {
	return streamSettings{
		poll: 2 * time.Second, pause: 200 * time.Millisecond, heartbeat: 15 * time.Second, write: 10 * time.Second,
		overlap: 2 * time.Second, late: 90 * time.Second, lateLook: 5 * time.Second, patience: 10 * time.Second, memory: 10 * time.Minute, now: time.Now,
	}
}

const (
	// streamReaders bounds how many streams read the database at once: those
	// that post and get must not wait for them.
	streamReaders = 4
	// streamPiece is how much is written at once, in bytes.
	streamPiece = 32 << 10
	// reconnectAfter is what clients are told to wait before they come again, in
	// milliseconds.
	reconnectAfter = 2000
	// lastWords is how long a stream may take to end well when the API stops.
	lastWords = time.Second
	// contentTypeStream is that of server-sent events.
	contentTypeStream = "text/event-stream"
	// idEnded is the id of the last event of a stream that has told everything.
	idEnded = "end"
)

// streams are what the streams of a server share.
type streams struct {
	streamSettings
	places  chan struct{} // holds one for each stream
	readers chan struct{} // holds one for each that reads the database
	bytes   *byteGate     // of what all streams hold of payloads
	hub     *hub

	perAddress int
	mu         sync.Mutex
	each       map[string]int // the streams of each address
	// stopped ends when the server stops.
	stopped context.Context
	stop    context.CancelFunc
}

func newStreams(limit, perAddress int, hub *hub) *streams {
	st := &streams{
		streamSettings: defaultStreams(), hub: hub, perAddress: perAddress, each: map[string]int{},
		places: make(chan struct{}, limit), readers: make(chan struct{}, streamReaders),
		bytes: newByteGate(maxReadBytes),
	}
	st.stopped, st.stop = context.WithCancel(context.Background())
	return st
}

// enter takes a place for a stream of an address, which leave gives back. The
// error is [tasker.Overloaded] where there is none.
func (st *streams) enter(address string) (leave func(), err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.each[address] >= st.perAddress {
		return nil, tasker.Errorf(tasker.Overloaded, "too many streams of events of one address at once, the limit is %d: come again after the seconds of Retry-After", st.perAddress)
	}
	select {
	case st.places <- struct{}{}:
	default:
		return nil, tasker.Errorf(tasker.Overloaded, "too many streams of events at once, the limit is %d: come again after the seconds of Retry-After", cap(st.places))
	}
	st.each[address]++
	return func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		<-st.places
		if st.each[address]--; st.each[address] == 0 {
			delete(st.each, address)
		}
	}, nil
}

// read runs fn, which reads the database, within a time limit and when there
// are not too many others.
func (st *streams) read(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	select {
	case st.readers <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for other streams: %w", context.Cause(ctx))
	}
	defer func() { <-st.readers }()
	return fn(ctx)
}

// feed is what one stream tells.
type feed interface {
	// begin sends the first events. Nothing is written before it returns nil.
	begin(ctx context.Context, out *eventStream) error
	// subscribe gives what tells that there may be something new, until leave
	// is called.
	subscribe() (wake <-chan struct{}, leave func())
	// refresh reads what is new and sends it. ended tells that nothing more
	// will come.
	refresh(ctx context.Context, out *eventStream) (ended bool, err error)
}

// stream answers with the events of a feed until it has ended, the client is
// gone or too slow, or the server stops. Errors before the first event are
// answered as problems.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, f feed) error {
	leave, err := s.streams.enter(hostOf(r.RemoteAddr))
	if err != nil {
		return err
	}
	defer leave()
	if s.streams.stopped.Err() != nil {
		return tasker.Errorf(tasker.Unavailable, "this process stops: try again later")
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := &eventStream{w: w, control: http.NewResponseController(w), limit: s.streams.write}
	defer context.AfterFunc(s.streams.stopped, func() {
		cancel()
		out.hurry()
	})()
	if err := f.begin(ctx, out); err != nil {
		return err
	}
	if r.Method == http.MethodHead || out.status == http.StatusNoContent {
		out.header()
		return nil
	}
	// What happens before the hints come is seen by the first reading.
	wake, unsubscribe := f.subscribe()
	defer unsubscribe()
	out.open()
	s.follow(ctx, r, out, wake, f)
	return nil
}

// follow keeps a stream up to date.
func (s *Server) follow(ctx context.Context, r *http.Request, out *eventStream, wake <-chan struct{}, f feed) {
	st := s.streams
	next, beat := time.NewTimer(0), time.NewTicker(st.heartbeat)
	defer next.Stop()
	defer beat.Stop()
	var earliest time.Time // of the next reading
	warned := false
	for out.err == nil {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			out.comment("heartbeat")
		case <-wake:
			next.Reset(time.Until(earliest))
		case <-next.C:
			begun := time.Now()
			ended, err := f.refresh(ctx, out)
			out.flush()
			if ended || out.err != nil || ctx.Err() != nil {
				return
			}
			if err != nil && !warned {
				// The client keeps its stream: it goes on when the database is back.
				s.log.WarnContext(ctx, "a stream of events could not be brought up to date", "err", err, "request_id", requestInfoOf(r).id)
			}
			warned = err != nil
			pause := max(st.pause, 4*time.Since(begun))
			earliest = time.Now().Add(pause)
			next.Reset(max(st.poll, pause))
		}
	}
}

// eventStream writes server-sent events. Events are written when there are
// some, or with flush. An error stays: everything after it does nothing.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	buf     bytes.Buffer
	status  int  // the answer's, 200 where it is 0
	started bool // the header is out
	err     error

	mu      sync.Mutex
	hurried bool
}

// header sets what is answered before the first event. Proxies are asked not
// to keep events back.
func (e *eventStream) header() {
	if e.status == http.StatusNoContent {
		e.w.WriteHeader(e.status)
		return
	}
	h := e.w.Header()
	h.Set("Content-Type", contentTypeStream)
	h.Set("X-Accel-Buffering", "no")
	e.w.WriteHeader(http.StatusOK)
}

// open begins the answer. Every write has a limit of its own from here on,
// instead of the one for a whole answer.
func (e *eventStream) open() {
	e.arm()
	e.header()
	e.started = true
	e.flush()
}

// arm gives the next write its time, and tells whether there is one.
func (e *eventStream) arm() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hurried {
		e.err = http.ErrServerClosed
	}
	if e.err == nil {
		e.deadline(e.limit)
	}
	return e.err == nil
}

func (e *eventStream) deadline(limit time.Duration) {
	if err := e.control.SetWriteDeadline(time.Now().Add(limit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		e.err = err
	}
}

// hurry ends what is being written, from another goroutine, when the server
// stops.
func (e *eventStream) hurry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hurried = true
	_ = e.control.SetWriteDeadline(time.Now().Add(lastWords))
}

// head begins an event, whose data follows. An empty id leaves the client the
// one that it has.
func (e *eventStream) head(event, id string) {
	fmt.Fprintf(&e.buf, "event: %s\n", event)
	if id != "" {
		fmt.Fprintf(&e.buf, "id: %s\n", id)
	}
	e.buf.WriteString("data: ")
}

// Write adds a part of an event's data, which must have no line end.
func (e *eventStream) Write(p []byte) (int, error) {
	if e.err == nil {
		e.buf.Write(p)
		if e.started && e.buf.Len() >= streamPiece {
			e.flush()
		}
	}
	return len(p), e.err
}

// tail ends an event that head began.
func (e *eventStream) tail() { e.buf.WriteString("\n\n") }

// send adds an event.
func (e *eventStream) send(event, id string, data any) {
	if e.err != nil {
		return
	}
	e.head(event, id)
	encoder := json.NewEncoder(&e.buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil {
		e.err = fmt.Errorf("encode an event: %w", err)
		return
	}
	e.buf.WriteByte('\n') // JSON has no line end but the encoder's own
	if e.started && e.buf.Len() >= streamPiece {
		e.flush()
	}
}

// retry tells the client how long to wait before it comes again.
func (e *eventStream) retry() { fmt.Fprintf(&e.buf, "retry: %d\n\n", reconnectAfter) }

// comment sends what clients ignore.
func (e *eventStream) comment(text string) {
	fmt.Fprintf(&e.buf, ": %s\n\n", text)
	e.flush()
}

// flush writes what was sent, in pieces: a reader that takes each of them in
// time is not too slow, however much there is.
func (e *eventStream) flush() {
	for e.buf.Len() > 0 && e.arm() {
		if _, err := e.w.Write(e.buf.Next(streamPiece)); err != nil {
			e.err = err
			return
		}
		if err := e.control.Flush(); err != nil {
			e.err = err
			return
		}
	}
	if e.buf.Cap() > 4*streamPiece {
		e.buf = bytes.Buffer{} // a large event keeps no memory
	}
}

// resumeFrom gives the id of the last event that a client has seen: its query,
// or the header that browsers send. An id that cannot be read is an error in
// the query; a header's begins the stream anew, since a browser would not come
// again after an error. parse tells whether an id can be read.
func resumeFrom(r *http.Request, parse func(id string) bool) (id string, err error) {
	if query := r.URL.Query(); query.Has("last_event_id") {
		if id = query.Get("last_event_id"); id != "" && !parse(id) {
			return "", tasker.FieldErrorf("?last_event_id", "%q is no id that this stream gave: take it from an event", clip(id, tasker.MaxName))
		}
		return id, nil
	}
	if id = strings.TrimSpace(r.Header.Get("Last-Event-ID")); id != "" && !parse(id) {
		return "", nil
	}
	return id, nil
}
