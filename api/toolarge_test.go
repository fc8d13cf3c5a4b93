package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A client that sends all of its body before it reads gets the answer, and not
// a reset connection.
func TestRefusedBodyGetsItsAnswer(t *testing.T) {
	h := newHarness(t)
	body := bytes.Repeat([]byte("x"), 8<<20)
	for name, test := range map[string]struct {
		contentType string
		status      int
	}{
		"too large":    {"application/json", http.StatusRequestEntityTooLarge},
		"no JSON type": {"text/plain", http.StatusUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", h.http.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
			if _, err := fmt.Fprintf(conn, "POST /worker HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", test.contentType, len(body)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(body); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != test.status {
				t.Errorf("status %d, want %d", answer.StatusCode, test.status)
			}
		})
	}
}

func TestRefusedBodyOfPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("python3 is not there: TestRefusedBodyGetsItsAnswer does the same")
		return
	}
	h := newHarness(t)
	script := `
import sys, urllib.request, urllib.error
r = urllib.request.Request(sys.argv[1], data=b"x" * (8 << 20), headers={"Content-Type": "application/json"})
try:
    urllib.request.urlopen(r)
except urllib.error.HTTPError as e:
    print(e.code)
`
	output, err := exec.CommandContext(t.Context(), python, "-c", script, h.http.URL+"/worker").CombinedOutput()
	if err != nil || strings.TrimSpace(string(output)) != "413" {
		t.Errorf("%v: %s", err, output)
	}
}
