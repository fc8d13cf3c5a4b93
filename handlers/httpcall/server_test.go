package httpcall_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/httpcall"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// redirecting starts two servers: srv redirects as the query says, and other returns
// what it received.
func redirecting(t *testing.T) (other, srv *httptest.Server) {
	t.Helper()
	other = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]string{
			r.Method, r.RequestURI, string(body), r.Header.Get("X-Secret"), r.Header.Get("Authorization"),
			r.Header.Get("Idempotency-Key"), r.Header.Get("Referer"),
		})
	})
	srv = serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if code, err := strconv.Atoi(q.Get("code")); err == nil {
			w.Header().Set("Location", strings.ReplaceAll(q.Get("to"), "$n", q.Get("n")))
			w.WriteHeader(code)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]string{r.Method, r.RequestURI, string(body), r.Header.Get("X-Secret")})
	})
	return other, srv
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	other, srv := redirecting(t)
	for name, test := range map[string]struct {
		method, query string
		want          string // a result, or an errmsg after "!"
		errnr         int
	}{
		"307, within the origin": {"POST", "?code=307&to=/v1/x", `["POST","/v1/x","{}","s3cret"]`, 0},
		"308, relative":          {"PUT", "?code=308&to=y", `["PUT","/v1/y","{}","s3cret"]`, 0},
		"303 becomes a GET":      {"POST", "?code=303&to=/v1/x", `["GET","/v1/x","","s3cret"]`, 0},
		"302 of a GET":           {"GET", "?code=302&to=/v1/x", `["GET","/v1/x","","s3cret"]`, 0},
		"302 of a POST": {
			"POST", "?code=302&to=/v1/x",
			"!302 Found: redirect to " + srv.URL + "/v1/x would turn POST into GET: use the new URL", 302,
		},
		"to another allowed origin": {"POST", "?code=307&to=" + other.URL + "/x", `["POST","/x","{}","","","7-e7bd-console1",""]`, 0},
		"and back":                  {"POST", "?code=307&to=" + other.URL + "/back?to=" + srv.URL + "/v1/x", `["POST","/v1/x","{}","s3cret"]`, 0},
		"to another path": {
			"POST", "?code=307&to=/v2/x?token=s3cret",
			"!307 Temporary Redirect: redirect to " + srv.URL + "/v2/x, which is not allowed", 307,
		},
		"to the metadata": {
			"GET", "?code=302&to=http://169.254.169.254/latest/meta-data/",
			"!302 Found: redirect to http://169.254.169.254/latest/meta-data/, which is not allowed", 302,
		},
		"302 of a POST, to metadata": {
			"POST", "?code=302&to=http://169.254.169.254/latest/",
			"!302 Found: redirect to http://169.254.169.254/latest/, which is not allowed", 302,
		},
		"to a user name": {
			"GET", "?code=302&to=http://a@127.0.0.1/v1/",
			"!302 Found: redirect to http://127.0.0.1/v1/: invalid URL: must not have a user name, which belongs in a header", 302,
		},
		"to a file": {
			"GET", "?code=302&to=file:///etc/passwd",
			"!302 Found: redirect to file:///etc/passwd: invalid URL: must begin with http:// or https://", 302,
		},
		"to itself, again and again": {"GET", "?code=302&to=", "!302 Found: more than 3 redirects", 302},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(test.query, "to=") {
				test.query = "?code=302&to=?code=302%26to=?code=302%2526to=?code=302%252526to=/v1/x"
			}
			h := handlertest.Make(t, httpcall.New, handlers.Settings{
				"url": srv.URL + "/v1/" + test.query, "method": test.method, "allow": []any{srv.URL + "/v1/", other.URL},
				"headers": map[string]any{"X-Secret": "s3cret", "Authorization": "Bearer s3cret"}, "max_redirects": 3,
			})
			result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("{}"))
			got := strings.TrimSpace(string(result))
			if err != nil {
				got = "!" + strings.TrimPrefix(err.Error(), test.method+" "+srv.URL+"/v1/: ")
			}
			if got != test.want || handlers.Errnr(err) != test.errnr || handlers.IsPermanent(err) != (test.errnr != 0) {
				t.Errorf("got %s (errnr %d)\nwant %s", got, handlers.Errnr(err), test.want)
			}
		})
	}
}

// rawServer accepts connections, reads their request, and hands them to serve.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Read in full, or the close would be a reset.
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				serve(c)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// untilClosed reads until the other side closes.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// TestMisbehavingServers: each call ends, and the error says what happened.
func TestMisbehavingServers(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\n"
	flood := func(c net.Conn) {
		_, _ = io.WriteString(c, head+"\r\n")
		for junk := bytes.Repeat([]byte("x"), 64<<10); ; {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}
	for name, test := range map[string]struct {
		serve  func(net.Conn)
		want   string
		result string
	}{
		"hangs before the headers": {untilClosed, "no complete response within 200ms", ""},
		"hangs within the headers": {
			func(c net.Conn) { _, _ = io.WriteString(c, head+"X-A: "); untilClosed(c) },
			"no complete response within 200ms", "",
		},
		"hangs within the body": {
			func(c net.Conn) { _, _ = io.WriteString(c, head+"Content-Length: 9\r\n\r\nabc"); untilClosed(c) },
			"no complete response within 200ms", "",
		},
		"closes at once": {func(net.Conn) {}, "EOF", ""},
		"closes within the body": {func(c net.Conn) {
			_, _ = io.WriteString(c, head+"Content-Length: 9\r\n\r\nabc")
		}, "the response ended after 3 bytes: unexpected EOF", ""},
		"speaks something else": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n"); untilClosed(c) }, "malformed HTTP", ""},
		"endless headers": {func(c net.Conn) {
			_, _ = io.WriteString(c, head)
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, "headers exceeded", ""},
		"streams forever": {flood, "", `{"body":"xxxxxxxxxx","truncated":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := "200ms"
			if test.result != "" || strings.Contains(test.want, "exceeded") {
				timeout = "1m"
			}
			h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": rawServer(t, test.serve), "timeout": timeout, "max_response": 10})
			result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null"))
			if string(result) != test.result || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, %v; want %s", result, err, test.want)
			}
			if err != nil && (handlers.IsPermanent(err) || handlers.Errnr(err) != 1) {
				t.Errorf("permanent %t, errnr %d: %v", handlers.IsPermanent(err), handlers.Errnr(err), err)
			}
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(nil)
	srv.Close()
	_, err := handlertest.Make(t, httpcall.New, handlers.Settings{"url": srv.URL}).Handle(t.Context(),
		handlertest.NewRecorder().Request("null"))
	if err == nil || handlers.IsPermanent(err) || !strings.HasPrefix(err.Error(), "POST "+srv.URL+": dial tcp") {
		t.Errorf("got %v", err)
	}
}

// TestStopsWithItsContext while the server hangs: the error is the cause.
func TestStopsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"before the headers": "", "in the body": "HTTP/1.1 200 OK\r\n\r\nabc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			url := rawServer(t, func(c net.Conn) {
				_, _ = io.WriteString(c, begin)
				close(arrived)
				untilClosed(c)
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-arrived
				cancel(handlers.ErrCanceled)
			}()
			result, err := handlertest.Make(t, httpcall.New, handlers.Settings{"url": url, "timeout": "1m"}).Handle(ctx,
				handlertest.NewRecorder().Request("null"))
			if result != nil || !errors.Is(err, handlers.ErrCanceled) {
				t.Errorf("got %s, %v", result, err)
			}
		})
	}
}

// TestBoundsItsMemory: neither a large body, nor one that is large only when it is
// uncompressed, is kept in memory.
func TestBoundsItsMemory(t *testing.T) {
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	chunk := make([]byte, 1<<20)
	for range 16 {
		_, _ = z.Write(chunk)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, serveBody := range map[string]http.HandlerFunc{
		"1 GB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
			for range 1024 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
	} {
		h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": serve(t, serveBody).URL, "max_response": "64KiB"})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null"))
		runtime.ReadMemStats(&after)
		if err != nil || !strings.Contains(string(result), `"truncated":true`) || len(result) > 128<<10 {
			t.Errorf("%s: got %d bytes, %v", name, len(result), err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: %d bytes were allocated", name, used)
		}
		if name == "1 GB" && !strings.HasSuffix(string(result), `"truncated":true,"size":1073741824}`) {
			t.Errorf("%s: got ...%s", name, result[max(0, len(result)-60):])
		}
	}
}

func TestCertificateFile(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(answer(200, nil, "1"))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": srv.URL, "ca_file": file})
	checker := h.(handlers.Checker)
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without the file: got %v", err)
	}
	if _, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null")); err == nil || handlers.IsPermanent(err) {
		t.Errorf("without the file: got %v", err)
	}
	write := func(content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("rubbish"))
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "no certificate in "+file) {
		t.Errorf("rubbish: got %v", err)
	}
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	if err := checker.Check(); err != nil {
		t.Error(err)
	}
	if result, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null")); err != nil || string(result) != "1" {
		t.Errorf("got %s, %v", result, err)
	}
	_, err := handlertest.Make(t, httpcall.New, handlers.Settings{"url": srv.URL}).Handle(t.Context(),
		handlertest.NewRecorder().Request("null"))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the setting: got %v", err)
	}
}

func TestTrustedCertificatesOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	h := handlertest.Make(t, httpcall.New, handlers.Settings{"url": "https://h/", "ca_file": path})
	if err := handlertest.Check(h); err == nil || !strings.Contains(err.Error(), "not trusted: "+path+" is writable by all users") {
		t.Errorf("got %v", err)
	}
}
