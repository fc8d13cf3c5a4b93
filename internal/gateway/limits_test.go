package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// An endpoint that floods is refused, the others are not, and in all no more are
// served than may be.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := newGated(s)
	server := gateway.NewServer(gateway.Config{MaxPerEndpoint: 4, MaxRequests: 10}, g.stores(), byName{}, &notes{}, testLog(t))
	run(t, server)
	send := func(endpoint string) (status int, retryAfter string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, protocol.Prefix+protocol.OpFinish,
			strings.NewReader(`{"endpoint":"`+endpoint+`","ends":[{"task_id":1,"attempt":1,"state":"DONE"}]}`))
		r.Header.Set("Authorization", "Bearer token-"+endpoint)
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		return w.Code, w.Header().Get("Retry-After")
	}
	var group sync.WaitGroup
	waits := func(endpoint string) {
		before := server.Waiting()
		group.Go(func() {
			if status, _ := send(endpoint); status != http.StatusOK {
				t.Errorf("%s: status %d", endpoint, status)
			}
		})
		for server.Waiting() == before {
			time.Sleep(time.Millisecond)
		}
	}
	for range 4 {
		waits("flood")
	}
	for range 100 {
		if status, after := send("flood"); status != http.StatusServiceUnavailable || after == "" {
			t.Fatalf("the flood gets %d, Retry-After %q", status, after)
		}
	}
	for i := range 6 { // others are served
		waits(fmt.Sprint("e", i))
	}
	if status, after := send("one more"); status != http.StatusServiceUnavailable || after == "" {
		t.Errorf("one more gets %d, Retry-After %q", status, after)
	}
	close(g.gate)
	group.Wait()
	if status, _ := send("flood"); status != http.StatusOK {
		t.Errorf("after the flood: status %d", status)
	}
}

// A result that is larger than a gateway takes is refused, and the endpoint learns
// that, also if it is still sending.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	server := newServer(t, newStore(t), gateway.Config{MaxBody: 1 << 20})
	web := httptest.NewServer(server.Handler())
	t.Cleanup(web.Close)
	c, err := gateway.NewClient(gateway.ClientConfig{Addresses: []string{web.URL}, Tokens: tokensOf("a")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	large := ends("a", tasker.Task{ID: 1}, tasker.Task{ID: 2})
	large[0].Payload = []byte(`"` + strings.Repeat("x", 12<<20) + `"`)
	for range 5 {
		_, err = c.Attempts.FinishAttempts(t.Context(), large)
		if tasker.CodeOf(err) != tasker.TooLarge || !c.Database.Answered(err) {
			t.Fatalf("%v with code %s, answered %t", err, tasker.CodeOf(err), c.Database.Answered(err))
		}
	}
	if _, err := c.Attempts.FinishAttempts(t.Context(), large[1:]); err != nil {
		t.Error(err)
	}
}
