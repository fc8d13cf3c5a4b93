package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
)

// Principal is who sent a request.
type Principal struct {
	Name string
}

// Authenticator tells who sent a request. Roles will come as another
// implementation, and as more fields of Principal.
type Authenticator interface {
	// Authenticate gives a [tasker.Unauthorized] error where the request has
	// no valid credentials. The error never repeats them.
	Authenticate(r *http.Request) (Principal, error)
}

var (
	_ Authenticator = (*bearerTokens)(nil)
	_ Authenticator = openAccess{}
)

func newAuthenticator(token string, overlap time.Duration) Authenticator {
	if token == "" {
		return openAccess{}
	}
	return &bearerTokens{overlap: overlap, now: time.Now, current: sha256.Sum256([]byte(token))}
}

// bearerTokens lets in whoever has the token or, for a while after it was
// exchanged, the one of before. It keeps and compares hashes, which have the
// same length whatever was sent, so that the time of the comparison tells
// nothing.
type bearerTokens struct {
	overlap time.Duration
	now     func() time.Time

	mu       sync.RWMutex
	current  [sha256.Size]byte
	previous [sha256.Size]byte
	until    time.Time // of previous
}

// set exchanges the token. The same one again changes nothing.
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

func (a *bearerTokens) Authenticate(r *http.Request) (Principal, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "this API asks for a token: send it as \"Authorization: Bearer <token>\"")
	}
	if len(values) > 1 {
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "the request has more than one Authorization header")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "the Authorization header is not of the form \"Bearer <token>\"")
	}
	if !a.valid(strings.TrimSpace(token)) {
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "the token is not valid")
	}
	return Principal{Name: "token"}, nil
}

// openAccess lets in everybody: for a loopback address, or where the
// configuration says insecure.
type openAccess struct{}

func (openAccess) Authenticate(*http.Request) (Principal, error) {
	return Principal{Name: "anonymous"}, nil
}

type principalKey struct{}

// PrincipalOf gives who sent the request of ctx.
func PrincipalOf(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// authenticate lets no request pass without a principal, except those for the
// open routes. It stands in front of the router, so that a route that is added
// later, and even one that does not exist, is behind it.
func (s *Server) authenticate(open map[string]bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open[r.URL.EscapedPath()] {
			next.ServeHTTP(w, r)
			return
		}
		if err := s.checkHost(r); err != nil {
			s.fail(w, r, err)
			return
		}
		principal, err := s.auth.Authenticate(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		requestInfoOf(r).principal = principal.Name
		if err := s.origins.Check(r); err != nil {
			s.fail(w, r, tasker.Errorf(misdirected, "a web page of another origin may not change anything here"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, principal)))
	})
}

// checkHost refuses requests for foreign host names where nothing but the
// loopback address protects the API. A web page that the machine's user visits
// can have its own name resolve to 127.0.0.1 (DNS rebinding), and the browser
// then treats this API as the page's own origin: only the Host header still
// shows the page's name. What a page sends under its own name, and a browser may
// send without asking first, is refused by its origin.
func (s *Server) checkHost(r *http.Request) error {
	if !s.cfg.guardsHost() {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if isLoopback(host) {
		return nil
	}
	return tasker.Errorf(misdirected, "without a token this API answers only to localhost, 127.0.0.1 or [::1]: use one of those names, or set api.token_file")
}
