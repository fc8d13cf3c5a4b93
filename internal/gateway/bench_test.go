package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

// BenchmarkResults measures results through the gateway, over TLS, from recording to
// end: one task for all endpoints at a time, each with a connection of its own, and
// the wait for more from others. CPU is that of endpoints and gateway together.
func BenchmarkResults(b *testing.B) {
	for _, endpoints := range []int{10, 100} {
		for _, gather := range []time.Duration{-1, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond} {
			b.Run(fmt.Sprintf("endpoints=%d/gather=%v", endpoints, gather), func(b *testing.B) { benchmarkResults(b, endpoints, gather) })
		}
	}
}

func benchmarkResults(b *testing.B, endpoints int, gather time.Duration) {
	s := benchStore(b)
	server := gateway.NewServer(gateway.Config{Gather: gather}, storesOf(s), byName{}, &notes{}, quiet)
	run(b, server)
	web := listenTLS(b, server)
	clients := make([]*gateway.Client, endpoints)
	for i := range clients {
		clients[i] = dial(b, web, fmt.Sprint("e", i))
		if _, err := clients[i].Endpoints.AcquireEndpoint(b.Context(), tasker.Endpoint{
			Name: fmt.Sprint("e", i), Manager: "m", TaskTypes: []string{"job"},
		}, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	tasks := make([]tasker.Task, b.N)
	for i := range tasks {
		task, _, err := s.Tasks.CreateTask(b.Context(), tasker.Task{Type: "job", Identifier: fmt.Sprint(i), Payload: []byte(`{"foo":"bar"}`)})
		if err != nil {
			b.Fatal(err)
		}
		tasks[i] = task
	}
	b.ResetTimer()
	before := cpu(b)
	for _, task := range tasks {
		var group sync.WaitGroup
		for i, c := range clients {
			group.Go(func() {
				endpoint := fmt.Sprint("e", i)
				if _, err := c.Results.ReceiveResults(b.Context(), messages(endpoint, "m", task)); err != nil {
					b.Error(err)
				}
				end := ends(endpoint, task)
				end[0].Payload = fmt.Appendf(nil, `{"endpoint":%q,"n":%d}`, endpoint, task.ID)
				if _, err := c.Attempts.FinishAttempts(b.Context(), end); err != nil {
					b.Error(err)
				}
			})
		}
		group.Wait()
	}
	b.StopTimer()
	results := float64(b.N * endpoints)
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/results, "cpu-us/result")
	b.ReportMetric(results/b.Elapsed().Seconds(), "results/s")
	arrivals, finished := server.Batches()
	b.ReportMetric(results/float64(arrivals), "arrivals/batch")
	b.ReportMetric(results/float64(finished), "ends/batch")
}

// BenchmarkIdleConnection measures what an idle endpoint costs a gateway: memory and
// one heartbeat.
func BenchmarkIdleConnection(b *testing.B) {
	if file := os.Getenv(idleEnv); file != "" {
		return
	}
	const n = 2000
	s := benchStore(b)
	server := gateway.NewServer(gateway.Config{}, storesOf(s), byName{}, &notes{}, quiet)
	run(b, server)
	web := listenTLS(b, server)
	ca := filepath.Join(b.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		used := memory()
		endpoints := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestIdleEndpoints$")
		endpoints.Env = append(os.Environ(), idleEnv+"="+strings.Join([]string{web.Listener.Addr().String(), ca, fmt.Sprint(n)}, " "))
		stdin, err := endpoints.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		stdout, err := endpoints.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := endpoints.Start(); err != nil {
			b.Fatal(err)
		}
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if lines.Text() == "idle" {
				break
			}
		}
		idle := memory()
		b.ReportMetric(float64(idle.HeapInuse-used.HeapInuse)/n, "heap-bytes/conn")
		b.ReportMetric(float64(idle.StackInuse-used.StackInuse)/n, "stack-bytes/conn")
		_ = stdin.Close()
		if err := endpoints.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// idleEnv has the address of the gateway, the file with its certificate and the
// number of endpoints, for [TestIdleEndpoints].
const idleEnv = "TASKER_TEST_IDLE_ENDPOINTS"

// TestIdleEndpoints is the endpoints of [BenchmarkIdleConnection]: each sends one
// heartbeat and keeps its connection until the input ends.
func TestIdleEndpoints(t *testing.T) {
	var address, ca string
	var n int
	if _, err := fmt.Sscan(os.Getenv(idleEnv), &address, &ca, &n); err != nil {
		return // not started by the benchmark
	}
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	conf := &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS13}
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	conns := make([]net.Conn, n) // kept: those that are forgotten are closed
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			raw, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			conn := tls.Client(raw, conf)
			conns[i] = conn
			body := fmt.Sprintf(`{"endpoint":"e%d","manager":"m"}`, i)
			_, err = fmt.Fprintf(conn, "POST %sheartbeat HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer token-e%d\r\nContent-Length: %d\r\n\r\n%s",
				protocol.Prefix, i, len(body), body)
			if err != nil {
				t.Error(err)
				return
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				t.Error(line, err)
			}
		})
	}
	group.Wait()
	fmt.Println("idle")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	runtime.KeepAlive(conns)
}

// cpu returns the time that this process has used.
func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchStore returns a store on MySQL.
func benchStore(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(store.Config{URI: testservices.MySQL(b)}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	storetest.Migrate(b, s)
	return s
}

func listenTLS(t testing.TB, server *gateway.Server) *httptest.Server {
	web := httptest.NewUnstartedServer(nil)
	web.Config = server.HTTPServer()
	web.StartTLS()
	t.Cleanup(web.Close)
	return web
}

func dial(t testing.TB, web *httptest.Server, endpoints ...string) *gateway.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	c, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{web.URL}, Tokens: tokensOf(endpoints...), TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
