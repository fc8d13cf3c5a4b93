package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/problem"
	"github.com/taskerhq/tasker/internal/x/netlimit"
)

// Principal is who sent a request, and what they may do.
type Principal struct {
	access.Principal
	// replaced is closed once the access file that the rights come from has been replaced;
	// nil if they do not come from one.
	replaced <-chan struct{}
}

// until returns a context that ends when the principal's token does.
func (p Principal) until(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.Expires.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, p.Expires)
}

// Authenticator finds out who sent a request.
type Authenticator interface {
	// Authenticate returns a [tasker.Unauthorized] error if the request has no
	// valid credentials. The error never contains them.
	Authenticate(r *http.Request) (Principal, error)
}

var (
	_ Authenticator = (*credentials)(nil)
	_ Authenticator = openAccess{}
)

func newAuthenticator(cfg Config) Authenticator {
	if cfg.open() {
		return openAccess{}
	}
	c := &credentials{now: time.Now}
	if cfg.Token != "" {
		c.single = &bearerTokens{overlap: cfg.TokenOverlap, now: time.Now, current: sha256.Sum256([]byte(cfg.Token))}
	}
	c.setPolicy(cfg.Access)
	return c
}

// credentials accepts the token that may do everything, and those of the access file.
type credentials struct {
	now     func() time.Time
	single  *bearerTokens // nil if there is none
	granted atomic.Pointer[grants]
}

// grants are the rights of an access file, until it is replaced.
type grants struct {
	policy   *access.Policy
	replaced chan struct{} // closed then
}

// setPolicy replaces the access file; nil keeps the one before, and so does the same again.
func (c *credentials) setPolicy(policy *access.Policy) {
	before := c.granted.Load()
	if policy == nil || before != nil && before.policy.Same(policy) {
		return
	}
	c.granted.Store(&grants{policy, make(chan struct{})})
	if before != nil {
		close(before.replaced)
	}
}

func (c *credentials) Authenticate(r *http.Request) (Principal, error) {
	token, err := bearerToken(r.Header)
	if err != nil {
		return Principal{}, err
	}
	if c.single != nil && c.single.valid(token) {
		return Principal{Principal: access.Unlimited(ownToken)}, nil
	}
	granted := c.granted.Load()
	if granted == nil {
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "invalid token")
	}
	from, _ := netip.ParseAddr(netlimit.Host(r.RemoteAddr))
	from = from.WithZone("")
	principal, err := granted.policy.Authenticate(token, from, c.now())
	return Principal{principal, granted.replaced}, err
}

// The names of principals that no access file has.
const (
	ownToken  = "token"     // the one of Config.Token
	anonymous = "anonymous" // if no token is needed
)

// bearerToken returns the token of a request.
func bearerToken(header http.Header) (string, error) {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return "", tasker.Errorf(tasker.Unauthorized, "missing token: send it as \"Authorization: Bearer <token>\"")
	}
	if len(values) > 1 {
		return "", tasker.Errorf(tasker.Unauthorized, "duplicate Authorization header: send one")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", tasker.Errorf(tasker.Unauthorized, "invalid Authorization header: must be \"Bearer <token>\"")
	}
	return strings.TrimSpace(token), nil
}

// bearerTokens accepts the token and, for a while after a change, the previous
// one. It keeps and compares hashes, which all have the same length, so that the
// time of the comparison reveals nothing.
type bearerTokens struct {
	overlap time.Duration
	now     func() time.Time

	mu       sync.RWMutex
	current  [sha256.Size]byte
	previous [sha256.Size]byte
	until    time.Time // of previous
}

// set replaces the token. Setting the current one again changes nothing.
func (a *bearerTokens) set(token string) {
	hash := sha256.Sum256([]byte(token))
	a.mu.Lock()
	defer a.mu.Unlock()
	if hash != a.current {
		a.previous, a.current, a.until = a.current, hash, a.now().Add(a.overlap)
	}
}

func (a *bearerTokens) valid(token string) bool {
	hash := sha256.Sum256([]byte(token))
	a.mu.RLock()
	defer a.mu.RUnlock()
	current := subtle.ConstantTimeCompare(hash[:], a.current[:])
	previous := subtle.ConstantTimeCompare(hash[:], a.previous[:])
	return current == 1 || previous == 1 && a.now().Before(a.until)
}

// openAccess accepts every request: for a loopback address, or if the
// configuration says insecure.
type openAccess struct{}

func (openAccess) Authenticate(*http.Request) (Principal, error) {
	return Principal{Principal: access.Unlimited(anonymous)}, nil
}

// principalName returns who sent a request.
func principalName(r *http.Request) string { return principalOf(r.Context()).Name }

// creator is principalName for what is stored with a task; empty if anybody may create one.
func creator(r *http.Request) string {
	if name := principalName(r); name != anonymous {
		return name
	}
	return ""
}

type principalKey struct{}

// PrincipalOf returns who sent the request of ctx.
func PrincipalOf(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// guard lets no request pass without a principal, except those for the open
// paths. It stands in front of the router, so that a route that is added later,
// and even one that does not exist, is behind it.
type guard struct {
	problems     problems
	auth         Authenticator
	open         map[string]bool
	loopbackOnly bool                        // see checkHost
	origins      *http.CrossOriginProtection // of requests that change something
}

func (g guard) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.open[r.URL.EscapedPath()] {
			next.ServeHTTP(w, r)
			return
		}
		if err := g.checkHost(r); err != nil {
			g.problems.fail(w, r, err)
			return
		}
		principal, err := g.auth.Authenticate(r)
		if err != nil {
			g.problems.fail(w, r, err)
			return
		}
		requestInfoOf(r).principal = principal.Name
		if err := g.origins.Check(r); err != nil {
			g.problems.fail(w, r, tasker.Errorf(problem.Misdirected,
				"cross-origin request rejected: a web page of another origin may not change anything here"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, principal)))
	})
}

// checkHost rejects requests for foreign host names if nothing but the loopback
// address protects the API. A web page that a user of this host visits can make
// its own name resolve to 127.0.0.1 (DNS rebinding), and the browser then treats
// this API as the page's own origin: only the Host header still shows the page's
// name. Requests that a page sends under its own name, and a browser may send
// without asking first, are rejected by their origin.
func (g guard) checkHost(r *http.Request) error {
	if !g.loopbackOnly {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if isLoopback(host) {
		return nil
	}
	return tasker.Errorf(problem.Misdirected,
		"host not allowed: without a token this API answers only to localhost, 127.0.0.1 or [::1]; use one of those names, or "+
			"set api.token_file or api.access_file")
}
