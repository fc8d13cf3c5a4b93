package browser

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/web"
)

const endpoints = 10_000

// large is an API with a task for many endpoints.
func large(w http.ResponseWriter, r *http.Request) {
	task := client.TaskView{
		ID: 7, Type: "app-update", Identifier: "upd-17", Status: tasker.Incomplete, StartTime: time.Now().Add(-time.Minute),
		LastModifiedTime: time.Now(),
	}
	message := "no space left on /var"
	set := func(from, to int) client.EndpointSet {
		return client.EndpointSet{Count: to - from + 1, Names: []string{fmt.Sprintf("web[%05d-%05d]", from, to)}}
	}
	var answer any
	switch {
	case strings.HasSuffix(r.URL.Path, "/groups"):
		answer = client.TaskGroups{
			Task: task, Expected: endpoints, Received: 9900, Missing: set(9901, 10_000),
			Groups: []client.ResultGroup{
				{State: tasker.ResultFailed, Errnr: 2, Errmsg: &message, Endpoint: "web00001", EndpointSet: set(1, 200)},
				{State: tasker.Lost, Errnr: -3, Endpoint: "web00201", EndpointSet: set(201, 260)},
				{State: tasker.ResultDone, Endpoint: "web00261", EndpointSet: set(261, 9000)},
				{State: tasker.Running, Endpoint: "web09001", EndpointSet: set(9001, 9500)},
				{State: tasker.Received, Endpoint: "web09501", EndpointSet: set(9501, 9900)},
			},
		}
	case r.URL.Path == "/app-update":
		answer = client.TaskPage[tasker.Task]{Tasks: []tasker.Task{{ID: 7, Payload: json.RawMessage(`{"version":"2.4"}`)}}}
	case strings.HasSuffix(r.URL.Path, "/events"):
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// The page of a large task is small, is drawn soon, and asks for no endpoint by itself.
func TestGridOfTenThousand(t *testing.T) {
	server := httptest.NewServer(web.Handler(web.Options{API: http.HandlerFunc(large), Log: slog.New(slog.DiscardHandler)}))
	b := open(t, false, 1280, 800)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	b.do(chromedp.Navigate(server.URL + "/tasks/app-update/upd-17"))
	b.until(`document.getElementById("grid") && !document.getElementById("grid").hidden`)
	store(t, "grid-1280-light.png", ask(b, chromedp.FullScreenshot(100)))
	bytes := ask(b, chromedp.Evaluate[int](`performance.getEntriesByType("navigation")[0].decodedBodySize`))
	requests := ask(b, chromedp.Evaluate[int](`performance.getEntriesByType("resource").length`))
	t.Logf("%d bytes of HTML, %d requests besides it, first paint after %.0f ms, %.1f MB of heap", bytes, requests,
		ask(b, chromedp.Evaluate[float64](`performance.getEntriesByName("first-contentful-paint")[0].startTime`)),
		ask(b, chromedp.Evaluate[float64](`performance.memory.usedJSHeapSize / 1e6`)))
	if bytes >= 100_000 || requests > 8 {
		t.Errorf("%d bytes of HTML, %d requests", bytes, requests)
	}
	b.do(chromedp.Focus(chromedp.CSS("canvas")), chromedp.KeyEvent("\u0303"), chromedp.KeyEvent("\u0303"))
	b.until(`document.getElementById("grid-at").textContent === "web00002: FAILED"`)
	for _, wrong := range b.errors() {
		t.Error(wrong)
	}
}
