package identity

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
)

// Store is the part of the database that an [Authenticator] uses; see
// internal/store.
type Store interface {
	// Revision changes with each change of a token other than by the time.
	Revision(ctx context.Context) (int64, error)
	// FindTokens returns the tokens with those hashes, by hash.
	FindTokens(ctx context.Context, hashes [][]byte) (map[string]tasker.EndpointToken, error)
	UseTokens(ctx context.Context, ids []int64, day string) error
	Now() time.Time
}

const (
	// fresh is how long what is known is used without asking whether it changed.
	fresh = 2 * time.Second
	// stale is how long it is used at most: a token that was removed, or replaced
	// without an overlap, works no longer than that.
	stale = 5 * time.Second
	// roundTimeout bounds the statements of one round.
	roundTimeout = 5 * time.Second
	// maxKnown bounds the tokens that are remembered.
	maxKnown = 100_000
	// maxRound bounds the tokens that one round looks up.
	maxRound = 1000
)

// dayForm is the form of the day on which a token was last used.
const dayForm = time.DateOnly

// Authenticator finds the endpoints that tokens belong to. It remembers them, and
// asks the database every few seconds whether any token has changed, so a request
// costs no statement. Tokens that it does not know are looked up together. It is
// safe for concurrent use; close it in the end.
type Authenticator struct {
	store   Store
	log     *slog.Logger
	elapsed func() time.Duration // by a monotonic clock

	mu       sync.Mutex
	known    map[Digest]tasker.EndpointToken // by the revision
	revision int64
	checked  time.Duration // when the revision was read last
	ever     bool          // it was
	next     *round        // not begun; nil if none is wanted
	running  bool
	closed   bool
	rounds   sync.WaitGroup
}

// round is one question to the database: for the revision, and some tokens.
type round struct {
	wanted map[Digest]bool
	done   chan struct{} // closed once found and err are set
	found  map[string]tasker.EndpointToken
	err    error
}

// New returns an Authenticator.
func New(store Store, log *slog.Logger) *Authenticator {
	start := time.Now()
	return &Authenticator{
		store: store, log: log, elapsed: func() time.Duration { return time.Since(start) }, known: map[Digest]tasker.EndpointToken{},
	}
}

// Close waits for the statement under way. After it every token is refused as
// [tasker.Unavailable].
func (a *Authenticator) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.rounds.Wait()
}

// Endpoint returns the endpoint that a token belongs to. The error is
// [tasker.Unauthorized] if there is none, and [tasker.Unavailable] if the
// database cannot say. It never contains the token.
func (a *Authenticator) Endpoint(ctx context.Context, token string) (name string, err error) {
	digest, err := Sum(token)
	if err != nil {
		return "", err
	}
	found, ok, err := a.find(ctx, digest)
	if err != nil {
		return "", err
	}
	switch {
	case !ok:
		return "", tasker.Errorf(tasker.Unauthorized, "unknown token: it was replaced, or its endpoint was removed: "+
			"tasker endpoints rotate NAME, or add NAME, prints another")
	case found.ValidUntil != nil && !a.store.Now().Before(*found.ValidUntil):
		return "", tasker.Errorf(tasker.Unauthorized, "token of endpoint %q ended at %s: another one has replaced it: "+
			"configure that, or get one from tasker endpoints rotate %s",
			found.Endpoint, found.ValidUntil.UTC().Format(time.RFC3339), found.Endpoint)
	}
	return found.Endpoint, nil
}

// find returns the token with a digest.
func (a *Authenticator) find(ctx context.Context, digest Digest) (found tasker.EndpointToken, ok bool, err error) {
	for {
		found, wait := a.look(ctx, digest)
		if wait == nil {
			return found, true, nil
		}
		select {
		case <-wait.done:
		case <-ctx.Done():
			return found, false, tasker.WrapError(tasker.Unavailable, context.Cause(ctx), "look up the token of the endpoint")
		}
		if wait.err != nil || wait.wanted[digest] {
			found, ok = wait.found[string(digest[:])]
			return found, ok, wait.err
		}
	}
}

// look returns the token if it is known, or else the round to wait for.
func (a *Authenticator) look(ctx context.Context, digest Digest) (found tasker.EndpointToken, wait *round) {
	a.mu.Lock()
	defer a.mu.Unlock()
	age := a.elapsed() - a.checked
	found, known := a.known[digest]
	switch {
	case a.closed:
		wait = &round{done: make(chan struct{}), err: tasker.Errorf(tasker.Unavailable, "the gateway is stopping")}
		close(wait.done)
	case known && found.LastUsed >= a.store.Now().Format(dayForm): // else its use today is to be stored
		if age < fresh {
			break
		}
		if next := a.want(ctx); age >= stale {
			wait = next
		}
	default:
		wait = a.want(ctx)
		if len(wait.wanted) < maxRound {
			wait.wanted[digest] = true
		}
	}
	return found, wait
}

// want returns the next round, which begins as soon as the one before has ended.
// The caller holds the lock.
func (a *Authenticator) want(ctx context.Context) *round {
	if a.next == nil {
		a.next = &round{wanted: map[Digest]bool{}, done: make(chan struct{})}
	}
	if !a.running {
		a.running = true
		a.rounds.Go(func() { a.run(context.WithoutCancel(ctx)) })
	}
	return a.next
}

// run runs rounds as long as another one is wanted.
func (a *Authenticator) run(ctx context.Context) {
	for {
		a.mu.Lock()
		r := a.next
		a.next, a.running = nil, r != nil
		a.mu.Unlock()
		if r == nil {
			return
		}
		a.ask(ctx, r)
	}
}

// ask runs one round.
func (a *Authenticator) ask(ctx context.Context, r *round) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	begun := a.elapsed()
	// First the revision: what is found later is as new as it, or newer.
	revision, err := a.store.Revision(ctx)
	if err == nil && len(r.wanted) > 0 {
		hashes := make([][]byte, 0, len(r.wanted))
		for digest := range r.wanted {
			hashes = append(hashes, digest[:])
		}
		r.found, err = a.store.FindTokens(ctx, hashes)
	}
	day := a.store.Now().Format(dayForm)
	var used []int64
	a.mu.Lock()
	if err == nil {
		if revision != a.revision || !a.ever {
			clear(a.known)
		}
		a.revision, a.checked, a.ever = revision, begun, true
		for digest := range r.wanted {
			token, ok := r.found[string(digest[:])]
			if !ok {
				continue
			}
			if token.LastUsed < day {
				used = append(used, token.ID)
				token.LastUsed = day
			}
			a.remember(digest, token)
		}
	}
	a.mu.Unlock()
	r.err = err
	close(r.done)
	if len(used) == 0 {
		return
	}
	if err := a.store.UseTokens(ctx, used, day); err != nil {
		a.log.WarnContext(ctx, "record use of endpoint tokens failed", "err", err)
	}
}

// remember adds a token, in place of any other if there are too many. The caller
// holds the lock.
func (a *Authenticator) remember(digest Digest, token tasker.EndpointToken) {
	if _, ok := a.known[digest]; !ok && len(a.known) >= maxKnown {
		for other := range a.known {
			delete(a.known, other)
			break
		}
	}
	a.known[digest] = token
}
