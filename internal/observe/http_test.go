package observe

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddress(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"": "", "9464": "127.0.0.1:9464", ":9464": "127.0.0.1:9464", "127.0.0.1:0": "127.0.0.1:0",
		"0.0.0.0:9464": "0.0.0.0:9464", "[::1]:9464": "[::1]:9464", "web1:9464": "web1:9464",
	} {
		if got, err := (Config{listen}).Address(); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", listen, got, err, want)
		}
	}
	for _, listen := range []string{"localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", ":70000", "-1", "a b:1", "::1:9464", "http://127.0.0.1:9464"} {
		if got, err := (Config{listen}).Address(); err == nil {
			t.Errorf("%q is taken for %q", listen, got)
		}
	}
}

// addresses is a log handler that passes on the addresses that are served, and
// warnings as "".
type addresses struct {
	slog.Handler
	to chan string
}

func (a addresses) Enabled(context.Context, slog.Level) bool { return true }

func (a addresses) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		a.to <- ""
		return nil
	}
	r.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "address" {
			a.to <- attr.Value.String()
		}
		return true
	})
	return nil
}

// serving serves the metrics until the test ends, and returns what the log says.
func serving(t *testing.T, listen string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	to, ended := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(ended)
		Serve(ctx, Config{listen}, NewRegistry("1.2.3"), slog.New(addresses{slog.DiscardHandler, to}))
	}()
	t.Cleanup(func() { cancel(); <-ended; http.DefaultClient.CloseIdleConnections() })
	return to
}

func get(t *testing.T, url, host string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestServe(t *testing.T) {
	t.Parallel()
	base := "http://" + <-serving(t, "127.0.0.1:0")
	status, body := get(t, base+"/metrics", "")
	if status != http.StatusOK || !strings.Contains(body, `tasker_build_info{go="go`) || !strings.Contains(body, "go_goroutines ") {
		t.Errorf("%d: %s", status, body)
	}
	if status, _ := get(t, base+"/", ""); status != http.StatusNotFound {
		t.Errorf("/: %d", status)
	}
	for host, want := range map[string]int{
		"localhost": 200, "localhost:1": 200, "127.0.0.2": 200, "[::1]:9": 200, "evil.example": 421, "evil.example:9464": 421, "10.0.0.1": 421,
	} {
		if status, _ := get(t, base+"/metrics", host); status != want {
			t.Errorf("Host %s: %d, want %d", host, status, want)
		}
	}
}

// An address in use is tried again until it is free.
func TestServeWaitsForTheAddress(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := serving(t, other.Addr().String())
	if said := <-log; said != "" {
		t.Fatalf("served at %s, which is in use", said)
	}
	_ = other.Close()
	if said := <-log; said != other.Addr().String() {
		t.Errorf("%q", said)
	}
}

func TestServeNowhere(t *testing.T) {
	t.Parallel()
	Serve(t.Context(), Config{}, NewRegistry(""), slog.New(slog.DiscardHandler)) // returns
}
