package identity_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store in memory that counts its calls.
type memory struct {
	mu        sync.Mutex
	tokens    map[string]tasker.EndpointToken
	rev       int64
	now       time.Time
	err       error
	revisions int
	finds     [][]byte
	used      []string // "id day"
	hold      chan struct{}
}

func (m *memory) Revision(ctx context.Context) (int64, error) {
	if m.hold != nil {
		select {
		case <-m.hold:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revisions++
	return m.rev, m.err
}

func (m *memory) FindTokens(_ context.Context, hashes [][]byte) (map[string]tasker.EndpointToken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]tasker.EndpointToken{}
	for _, h := range hashes {
		m.finds = append(m.finds, h)
		if t, ok := m.tokens[string(h)]; ok {
			found[string(h)] = t
		}
	}
	return found, m.err
}

func (m *memory) UseTokens(_ context.Context, ids []int64, day string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.used = append(m.used, fmt.Sprint(id, " ", day))
		for h, t := range m.tokens {
			if t.ID == id {
				t.LastUsed = day
				m.tokens[h] = t
			}
		}
	}
	return m.err
}

func (m *memory) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// change changes the tokens as a transaction does.
func (m *memory) change(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.rev++
}

// add adds a token of an endpoint.
func (m *memory) add(t testing.TB, endpoint string) string {
	t.Helper()
	token := identity.NewToken()
	digest, err := identity.Sum(token)
	if err != nil {
		t.Fatal(err)
	}
	m.change(func() {
		m.tokens[string(digest[:])] = tasker.EndpointToken{ID: int64(len(m.tokens) + 1), Endpoint: endpoint}
	})
	return token
}

func (m *memory) update(token string, change func(*tasker.EndpointToken)) {
	digest, _ := identity.Sum(token)
	m.change(func() {
		entry := m.tokens[string(digest[:])]
		change(&entry)
		m.tokens[string(digest[:])] = entry
	})
}

func (m *memory) counts() (revisions, finds int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revisions, len(m.finds)
}

// fixture is an Authenticator with a clock.
type fixture struct {
	*identity.Authenticator
	store   *memory
	elapsed atomic.Int64
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{store: &memory{tokens: map[string]tasker.EndpointToken{}, now: time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)}}
	f.Authenticator = identity.New(f.store, slog.New(slog.DiscardHandler))
	f.SetElapsed(func() time.Duration { return time.Duration(f.elapsed.Load()) })
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) want(t testing.TB, token, endpoint string) {
	t.Helper()
	if got, err := f.Endpoint(t.Context(), token); err != nil || got != endpoint {
		t.Errorf("endpoint %q, %v; want %q", got, err, endpoint)
	}
}

func (f *fixture) refused(t testing.TB, token string, code tasker.Code, text string) {
	t.Helper()
	name, err := f.Endpoint(t.Context(), token)
	if tasker.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) || name != "" {
		t.Errorf("endpoint %q, %v; want %s with %q", name, err, code, text)
	}
	if err != nil && strings.Contains(err.Error(), token[len(identity.Prefix):]) {
		t.Errorf("the message contains the token: %v", err)
	}
}

// Requests cost no statement, and what changed is noticed within seconds.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := f.store.add(t, "a"), f.store.add(t, "b")
	for range 100 {
		f.want(t, a, "a")
		f.want(t, b, "b")
	}
	if revisions, finds := f.store.counts(); revisions != 2 || finds != 2 {
		t.Errorf("%d questions for the revision, %d for tokens", revisions, finds)
	}
	f.refused(t, identity.NewToken(), tasker.Unauthorized, "unknown token")
	f.refused(t, "s3cret-s3cret", tasker.Unauthorized, "invalid token")

	// A new one is there at once.
	c := f.store.add(t, "c")
	f.want(t, c, "c")

	// A removed one stops in time. Until then it may work or not.
	digest, _ := identity.Sum(a)
	f.store.change(func() { delete(f.store.tokens, string(digest[:])) })
	f.elapsed.Add(int64(identity.Stale))
	f.refused(t, a, tasker.Unauthorized, "unknown token")
	f.want(t, b, "b")

	// One that was replaced stops at the time that was said.
	end := f.store.Now().Add(time.Hour)
	f.store.update(b, func(e *tasker.EndpointToken) { e.ValidUntil = &end })
	f.elapsed.Add(int64(identity.Stale))
	f.want(t, b, "b")
	f.store.mu.Lock()
	f.store.now = end
	f.store.mu.Unlock()
	f.refused(t, b, tasker.Unauthorized, "2026-05-06T13:00:00Z")
}

// As long as requests come, what is known is checked meanwhile, and nobody waits.
func TestCheckedMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.store.add(t, "a")
	f.want(t, a, "a")
	f.store.hold = make(chan struct{})
	digest, _ := identity.Sum(a)
	f.store.change(func() { delete(f.store.tokens, string(digest[:])) })
	f.elapsed.Add(int64(identity.Fresh))
	f.want(t, a, "a") // and has the question asked
	close(f.store.hold)
	for {
		if _, err := f.Endpoint(t.Context(), a); err != nil {
			if tasker.CodeOf(err) != tasker.Unauthorized {
				t.Error(err)
			}
			break
		}
	}
}

// While the database is away, nobody is called unauthorized.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.store.add(t, "a")
	f.want(t, a, "a")
	f.store.mu.Lock()
	f.store.err = tasker.Errorf(tasker.Unavailable, "the database cannot be reached")
	f.store.mu.Unlock()
	f.elapsed.Add(int64(identity.Fresh))
	f.want(t, a, "a")
	f.elapsed.Add(int64(identity.Stale))
	f.refused(t, a, tasker.Unavailable, "cannot be reached")
	f.refused(t, identity.NewToken(), tasker.Unavailable, "cannot be reached")
	f.store.mu.Lock()
	f.store.err = nil
	f.store.mu.Unlock()
	f.want(t, a, "a")
}

// Thousands that come at once are looked up together, and each of them is known.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const n = 3000
	f := newFixture(t)
	f.store.hold = make(chan struct{})
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = f.store.add(t, fmt.Sprint("e", i))
	}
	var all sync.WaitGroup
	for i, token := range tokens {
		all.Go(func() { f.want(t, token, fmt.Sprint("e", i)) })
	}
	close(f.store.hold)
	all.Wait()
	if revisions, finds := f.store.counts(); finds != n || revisions > n/2 {
		t.Errorf("%d statements looked up %d tokens", revisions, finds)
	}
}

// The day of the last use is stored once a day.
func TestLastUsed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.store.add(t, "a")
	for range 3 {
		f.want(t, a, "a")
		f.store.change(func() {}) // has it looked up again
		f.elapsed.Add(int64(identity.Stale))
	}
	f.store.mu.Lock()
	f.store.now = f.store.now.AddDate(0, 0, 1)
	f.store.mu.Unlock()
	for range 3 {
		f.want(t, a, "a")
	}
	f.Close() // waits for the last statement
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	if want := []string{"1 2026-05-06", "1 2026-05-07"}; !slices.Equal(f.store.used, want) {
		t.Errorf("stored were %q, want %q", f.store.used, want)
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.store.add(t, "a")
	f.store.hold = make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("client went away"))
	if _, err := f.Endpoint(ctx, a); tasker.CodeOf(err) != tasker.Unavailable {
		t.Error(err)
	}
	close(f.store.hold)
	f.want(t, a, "a")
	f.Close()
	f.refused(t, a, tasker.Unavailable, "stopping")
	if keys := slices.Collect(maps.Keys(f.store.tokens)); len(keys) != 1 {
		t.Error(keys)
	}
}
