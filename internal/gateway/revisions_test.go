package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// Fields of a later revision are ignored, unknown ones of this revision refused.
func TestRevisions(t *testing.T) {
	t.Parallel()
	server := newServer(t, newStore(t), gateway.Config{})
	for revision, want := range map[string]int{"": 422, "1": 422, "2": 200, "x": 422} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, protocol.Prefix+protocol.OpReturn,
			strings.NewReader(`{"endpoint":"a","later":1}`))
		r.Header.Set("Authorization", "Bearer token-a")
		r.Header.Set(protocol.HeaderRevision, revision)
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("revision %q: %d %s, want %d", revision, w.Code, w.Body, want)
		}
	}
}
