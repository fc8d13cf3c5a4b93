package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/netlimit"
)

// streamSettings are the periods and limits of event streams. Tests use shorter
// ones.
type streamSettings struct {
	// poll is how often the database is read without a hint: hints may be lost.
	poll time.Duration
	// pause is the minimum time between two reads of a stream.
	pause time.Duration
	// heartbeat is how often a comment is sent, so that a dead connection is
	// noticed on both sides.
	heartbeat time.Duration
	// write is the time limit of one write: a slower reader is disconnected, and
	// may resume.
	write time.Duration
	// overlap is how far back is read again: if several processes write, what was
	// written first may become visible last.
	overlap time.Duration
	// late is the longest time that a change of a task may take to become
	// visible: more than the time limit of a statement or a transaction. Every
	// lateScan, everything that changed within it is read.
	late, lateScan time.Duration
	// logWait is how long the stream of a task that has ended waits for the rest
	// of its logs.
	logWait time.Duration
	// memory is how far back a stream of all tasks resumes.
	memory time.Duration
	now    func() time.Time
}

func defaultStreams() streamSettings {
	return streamSettings{
		poll: 2 * time.Second, pause: 200 * time.Millisecond, heartbeat: 15 * time.Second, write: 10 * time.Second,
		overlap: 2 * time.Second, late: 90 * time.Second, lateScan: 5 * time.Second, logWait: 10 * time.Second,
		memory: 10 * time.Minute, now: time.Now,
	}
}

const (
	// streamReaders bounds how many streams read the database at once: POSTs and
	// GETs must not wait for them.
	streamReaders = 4
	// streamPiece is how much is written at once, in bytes.
	streamPiece = 32 << 10
	// reconnectAfter is how long clients wait before they reconnect, in
	// milliseconds.
	reconnectAfter = 2000
	// lastWrite is how long a write may take once the API stops.
	lastWrite         = time.Second
	contentTypeStream = "text/event-stream"
	// idEnded is the id of the last event of a complete stream.
	idEnded = "end"
)

// streams are what the streams of a server share.
type streams struct {
	streamSettings
	slots      chan struct{} // holds one element per stream
	readers    chan struct{} // holds one element per stream that reads the database
	payloads   *byteLimiter  // of what all streams hold
	hub        *hub
	log        *slog.Logger
	perAddress int
	open       observe.Gauge
	stopped    chan struct{} // closed when the server stops
	stop       func()

	mu        sync.Mutex
	byAddress map[string]int
}

func newStreams(limit, perAddress int, hub *hub, log *slog.Logger) *streams {
	st := &streams{
		streamSettings: defaultStreams(), hub: hub, log: log, perAddress: perAddress, byAddress: map[string]int{},
		slots: make(chan struct{}, limit), readers: make(chan struct{}, streamReaders),
		payloads: newByteLimiter(maxReadBytes), stopped: make(chan struct{}),
	}
	st.stop = sync.OnceFunc(func() { close(st.stopped) })
	return st
}

// acquire takes a slot for a stream of an address, which release frees. If there
// is none it returns [tasker.Overloaded].
func (st *streams) acquire(address string) (release func(), err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.byAddress[address] >= st.perAddress {
		return nil, tasker.Errorf(tasker.Overloaded,
			"too many event streams from one address, the limit is %d: retry after the seconds in Retry-After", st.perAddress)
	}
	select {
	case st.slots <- struct{}{}:
	default:
		return nil, tasker.Errorf(tasker.Overloaded, "too many event streams, the limit is %d: retry after the seconds in Retry-After",
			cap(st.slots))
	}
	st.byAddress[address]++
	st.open.Add(1)
	return func() {
		st.open.Add(-1)
		st.mu.Lock()
		defer st.mu.Unlock()
		<-st.slots
		if st.byAddress[address]--; st.byAddress[address] == 0 {
			delete(st.byAddress, address)
		}
	}, nil
}

// read runs fn, which reads the database, with a time limit, and once not too
// many other streams read.
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

// feed is the source of one stream's events.
type feed interface {
	// begin sends the first events. Nothing is written before it returns nil.
	begin(ctx context.Context, out *eventStream) error
	// subscribe returns a channel that signals that there may be something new,
	// until leave is called.
	subscribe() (wake <-chan struct{}, leave func())
	// refresh reads what is new and sends it. ended reports that nothing more
	// will come.
	refresh(ctx context.Context, out *eventStream) (ended bool, err error)
}

// serve writes the events of a feed until it has ended, the client has
// disconnected or is too slow, its rights may have changed, or the server stops. Errors before the first event
// become problems.
func (st *streams) serve(w http.ResponseWriter, r *http.Request, f feed) error {
	release, err := st.acquire(netlimit.Host(r.RemoteAddr))
	if err != nil {
		return err
	}
	defer release()
	principal, _ := PrincipalOf(r.Context())
	ctx, cancel := principal.until(r.Context())
	defer cancel()
	out := &eventStream{w: w, control: http.NewResponseController(w), limit: st.write}
	select {
	case <-st.stopped:
		return tasker.Errorf(tasker.Unavailable, "api is stopping: retry later")
	default:
	}
	go func() {
		select {
		case <-st.stopped:
			cancel()
			out.hurry()
		case <-principal.replaced:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := f.begin(ctx, out); err != nil {
		return err
	}
	if r.Method == http.MethodHead || out.status == http.StatusNoContent {
		out.header()
		return nil
	}
	// The first read sees what happened before the subscription.
	wake, unsubscribe := f.subscribe()
	defer unsubscribe()
	out.open()
	st.follow(ctx, out, wake, f)
	return nil
}

// follow keeps a stream up to date.
func (st *streams) follow(ctx context.Context, out *eventStream, wake <-chan struct{}, f feed) {
	reads, beat := newPace(st.poll), time.NewTicker(st.heartbeat)
	defer reads.stop()
	defer beat.Stop()
	warned := false
	for out.err == nil {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			out.comment("heartbeat")
		case <-wake:
			reads.hint()
		case <-reads.due():
			begun := time.Now()
			ended, err := f.refresh(ctx, out)
			out.flush()
			if ended || out.err != nil || ctx.Err() != nil {
				return
			}
			if err != nil && !warned {
				// The client keeps its stream: it continues when the database is back.
				st.log.WarnContext(ctx, "refresh event stream failed", "err", err, "request_id", contextInfo(ctx).id)
			}
			warned = err != nil
			reads.done(begun, st.pause)
		}
	}
}

// pace says when to read the database for one client: at once, after a hint, and
// without hints every poll, since they may be lost.
type pace struct {
	poll     time.Duration
	next     *time.Timer
	earliest time.Time // of the next read
}

func newPace(poll time.Duration) *pace { return &pace{poll: poll, next: time.NewTimer(0)} }

// due returns the channel that says that a read is due.
func (p *pace) due() <-chan time.Time { return p.next.C }

// hint makes a read due as soon as the pause after the last one is over.
func (p *pace) hint() { p.next.Reset(time.Until(p.earliest)) }

// done ends a read, which a pause follows: a longer one if it was slow, so that no
// client keeps the database busy.
func (p *pace) done(begun time.Time, pause time.Duration) {
	pause = max(pause, 4*time.Since(begun))
	p.earliest = time.Now().Add(pause)
	p.next.Reset(max(p.poll, pause))
}

func (p *pace) stop() { p.next.Stop() }

// eventStream writes server-sent events. It buffers them up to streamPiece, or
// until flush. After an error it does nothing.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	buf     bytes.Buffer
	status  int  // of the response; 0 means 200
	started bool // the header is written
	err     error

	mu      sync.Mutex
	hurried bool
}

// header writes what precedes the first event. Proxies must not buffer events.
func (e *eventStream) header() {
	if e.status == http.StatusNoContent {
		e.w.WriteHeader(e.status)
		return
	}
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	e.w.WriteHeader(http.StatusOK)
}

// open begins the response. From here on every write has its own time limit, in
// place of the one for a whole response.
func (e *eventStream) open() {
	e.arm()
	e.header()
	e.started = true
	e.flush()
}

// arm sets the deadline of the next write, and reports whether it may happen.
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

// hurry limits the current write, from another goroutine, when the server stops.
func (e *eventStream) hurry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hurried = true
	_ = e.control.SetWriteDeadline(time.Now().Add(lastWrite))
}

// head begins an event, whose data follows. With an empty id the client keeps the
// one that it has.
func (e *eventStream) head(event, id string) {
	fmt.Fprintf(&e.buf, "event: %s\n", event)
	if id != "" {
		fmt.Fprintf(&e.buf, "id: %s\n", id)
	}
	e.buf.WriteString("data: ")
}

// Write adds a part of an event's data, which must not contain a newline.
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
	e.buf.WriteByte('\n') // after the encoder's own: an empty line ends the event
	if e.started && e.buf.Len() >= streamPiece {
		e.flush()
	}
}

// retry sends how long the client waits before it reconnects.
func (e *eventStream) retry() { fmt.Fprintf(&e.buf, "retry: %d\n\n", reconnectAfter) }

// comment sends a line that clients ignore.
func (e *eventStream) comment(text string) {
	fmt.Fprintf(&e.buf, ": %s\n\n", text)
	e.flush()
}

// flush writes the buffer in pieces: a reader that takes each of them in time is
// not too slow, however much there is.
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
		e.buf = bytes.Buffer{} // do not keep the memory of a large event
	}
}

// resumeFrom returns the id of the last event that a client has seen, from the
// query or the header that browsers send. An invalid id is an error in the query;
// in the header it restarts the stream, since a browser would not reconnect after
// an error. parse reports whether an id is valid.
func resumeFrom(r *http.Request, parse func(id string) bool) (id string, err error) {
	if query := r.URL.Query(); query.Has("last_event_id") {
		if id = query.Get("last_event_id"); id != "" && !parse(id) {
			return "", tasker.FieldErrorf("?last_event_id", "invalid last_event_id %q: use the id of an event", clip(id, tasker.MaxName))
		}
		return id, nil
	}
	if id = strings.TrimSpace(r.Header.Get("Last-Event-ID")); id != "" && !parse(id) {
		return "", nil
	}
	return id, nil
}
