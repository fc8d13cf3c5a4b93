package web_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/testcerts"
)

// plan sends the form of a type, and returns the page with the plan and the fields of
// its form.
func (b *browser) plan(taskType string, form url.Values) (answer, url.Values) {
	b.t.Helper()
	a := b.want(b.post("types/"+taskType+"/plan", form), http.StatusOK)
	return a, b.fields(a, "types/"+taskType+"/run")
}

func TestRunWithoutJavaScript(t *testing.T) {
	t.Parallel()
	b := open(t)
	form := b.fields(b.want(b.get("types/worker"), http.StatusOK), "types/worker/plan")
	if form.Get("whom") != "all" {
		t.Errorf("the form begins with %v", form)
	}
	form.Set("payload", `{"foo": "<bar> & \"more\""}`)
	a, confirm := b.plan("worker", form)
	b.want(a, http.StatusOK, "Run worker on 2 endpoints?", "console[1-2]", "also for those that register later")
	identifier := confirm.Get("identifier")
	if identifier == "" || confirm.Get("plan") == "" {
		t.Fatalf("the form of the plan has %v", confirm)
	}
	for _, typed := range []string{"", "1", "20", "two"} {
		confirm.Set("typed", typed)
		b.want(b.post("types/worker/run", confirm), http.StatusUnprocessableEntity, "nothing was done", "Run worker on 2 endpoints?")
	}
	if _, err := b.api.Summary(t.Context(), "worker", identifier); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("a task was created although its number was not typed: %v", err)
	}
	confirm.Set("typed", "2")
	b.want(b.follow(b.post("types/worker/run", confirm)), http.StatusOK, "worker/"+identifier)
	b.follow(b.post("types/worker/run", confirm)) // twice is once
	b.until("worker", identifier, tasker.Done)
	task, err := b.api.Task(t.Context(), "worker", identifier)
	if err != nil || string(task.Task.Payload) != `{"foo":"<bar> & \"more\""}` {
		t.Errorf("the payload is %s: %v", task.Task.Payload, err)
	}
}

func TestRunOnChosenEndpoints(t *testing.T) {
	t.Parallel()
	b := open(t)
	for name, form := range map[string]url.Values{
		"s": {"whom": {"select"}, "select": {"name=console2"}},
		"n": {"whom": {"names"}, "names": {"console2"}},
	} {
		form.Set("identifier", name)
		a, confirm := b.plan("worker", form)
		b.want(a, http.StatusOK, "Run worker on 1 endpoint?")
		if strings.Contains(a.body, `name="typed"`) {
			t.Error("the number of one endpoint is to be typed")
		}
		b.want(b.follow(b.post("types/worker/run", confirm)), http.StatusOK, "worker/"+name)
		b.until("worker", name, tasker.Done)
		task, err := b.api.Task(t.Context(), "worker", name)
		if err != nil || len(task.Results) != 1 || task.Results[0].Endpoint != "console2" {
			t.Errorf("%s: %+v, %v", name, task.Results, err)
		}
	}
}

func TestWrongForms(t *testing.T) {
	t.Parallel()
	b := open(t)
	for name, c := range map[string]struct {
		form url.Values
		text string
	}{
		"no JSON":        {url.Values{"whom": {"all"}, "payload": {`{"seconds":`}}, "invalid payload: must be JSON"},
		"schema":         {url.Values{"whom": {"all"}, "payload": {`{"seconds":"long"}`}}, "/payload/seconds"},
		"nobody":         {url.Values{"payload": {"{}"}}, "missing choice of endpoints"},
		"no selector":    {url.Values{"whom": {"select"}, "payload": {`{"seconds":0}`}}, "missing selector"},
		"bad selector":   {url.Values{"whom": {"select"}, "select": {"=="}, "payload": {`{"seconds":0}`}}, "role=web,zone!=eu"},
		"no names":       {url.Values{"whom": {"names"}, "payload": {`{"seconds":0}`}}, "missing names"},
		"bad names":      {url.Values{"whom": {"names"}, "names": {"a[1-"}, "payload": {`{"seconds":0}`}}, "invalid names"},
		"bad identifier": {url.Values{"whom": {"all"}, "identifier": {"a b"}, "payload": {`{"seconds":0}`}}, "identifier"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.post("types/sleep/plan", c.form)
			if a.status < 400 || a.status > 499 {
				t.Errorf("status %d", a.status)
			}
			b.want(a, a.status, c.text, "Show whom it would run on")
			if given := c.form.Get("names"); given != "" && !strings.Contains(a.body, `value="`+given+`"`) {
				t.Error("what was entered is lost")
			}
		})
	}
	// The identifier of another task.
	b.run("worker", "taken", map[string]int{"a": 1}, tasker.Done)
	a := b.post("types/worker/plan", url.Values{"whom": {"all"}, "identifier": {"taken"}, "payload": {"{}"}})
	b.want(a, http.StatusConflict, "taken")
	// A plan of others than those chosen now.
	_, confirm := b.plan("worker", url.Values{"whom": {"names"}, "names": {"console1"}, "identifier": {"p"}})
	confirm.Set("names", "console2")
	b.want(b.post("types/worker/run", confirm), http.StatusConflict, "not as planned", "joined: console2", "left: console1")
	confirm.Del("plan")
	b.want(b.post("types/worker/run", confirm), http.StatusUnprocessableEntity, "missing plan")
	if _, err := b.api.Summary(t.Context(), "worker", "p"); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("a task was created against its plan: %v", err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("sleep", "s1", map[string]float64{"seconds": 3600}, "")
	page := b.want(b.get("tasks/sleep/s1"), http.StatusOK, "Cancel this task")
	form := b.fields(page, "tasks/sleep/s1/cancel")
	form.Set("reason", strings.Repeat("x", 1025))
	b.want(b.post("tasks/sleep/s1/cancel", form), http.StatusUnprocessableEntity, "reason too long", "Cancel this task")
	form.Set("reason", "wrong <version>")
	b.want(b.follow(b.post("tasks/sleep/s1/cancel", form)), http.StatusOK, "by anonymous", "wrong &lt;version&gt;")
	b.until("sleep", "s1", tasker.Canceled)
	a := b.want(b.get("tasks/sleep/s1"), http.StatusOK, "2 canceled of 2")
	if strings.Contains(a.body, "Cancel this task") {
		t.Error("a task that has ended can be canceled")
	}
	b.run("worker", "w1", nil, tasker.Done)
	b.want(b.post("tasks/worker/w1/cancel", form), http.StatusConflict, "DONE", `role="alert"`)
}

// A page of another origin can send no form.
func TestCrossSitePosts(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("sleep", "s1", map[string]float64{"seconds": 3600}, "")
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		b.headers = map[string]string{name: value}
		for _, page := range []string{"tasks/sleep/s1/cancel", "tasks/sleep/s1/resume", "tasks/sleep/s1/approve", "tasks/sleep/s1/promote", "types/sleep/plan", "types/sleep/run", "schedules/nightly/pause", "schedules/nightly/resume", "schedules/nightly/trigger", "login", "logout", "dead-letters/1/discard"} {
			if a := b.post(page, url.Values{}); a.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d", page, name, a.status)
			}
		}
	}
	got, err := b.api.Summary(t.Context(), "sleep", "s1")
	if err != nil || got.Task.Cancel != nil {
		t.Errorf("the task was canceled: %+v, %v", got.Task, err)
	}
}

// Without a token, a name that another site has made resolve to this host is refused.
func TestForeignHost(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.headers["Host"] = "rebound.example"
	for _, page := range []string{"", "tasks", "types/worker"} {
		b.want(b.get(page), http.StatusMisdirectedRequest, "host not allowed")
	}
	b.want(b.post("types/worker/plan", url.Values{"whom": {"all"}}), http.StatusMisdirectedRequest, "host not allowed")
}

// token is long enough for the configuration.
const token = "0123456789abcdef0123456789abcdef"

func TestLogin(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, "TASKER_API_TOKEN_FILE="+file)
	b.run("worker", "w1", nil, tasker.Done)
	a := b.get("tasks/worker/w1?x=1")
	if a.header.Get("Location") != "../../login?next=tasks%2Fworker%2Fw1%3Fx%3D1" {
		t.Errorf("to %q", a.header.Get("Location"))
	}
	form := b.fields(b.want(b.follow(a), http.StatusOK), "login")
	for _, page := range []string{"tasks/worker/w1/events", "events"} {
		if a := b.get(page); a.status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", page, a.status)
		}
	}
	for _, wrong := range []string{"", "guess", "a b", token + "x", "tökén"} {
		form.Set("token", wrong)
		if a := b.want(b.post("login", form), http.StatusUnauthorized, "invalid token"); a.header.Get("Set-Cookie") != "" {
			t.Errorf("a cookie for the token %q", wrong)
		}
	}
	form.Set("token", " "+token+" ")
	a = b.post("login", form)
	cookie := a.header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "tasker=") || !strings.Contains(cookie, "; HttpOnly; SameSite=Strict") || strings.Contains(cookie, "Secure") ||
		strings.Contains(cookie, token) {
		t.Errorf("cookie %q", cookie)
	}
	b.headers["Cookie"], _, _ = strings.Cut(cookie, ";")
	b.want(b.follow(a), http.StatusOK, "worker/w1", "Log out", "$TASKER_TOKEN")
	if a := b.get("tasks/worker/w1/events"); a.status != http.StatusOK {
		t.Errorf("events: status %d", a.status)
	}
	a = b.post("logout", url.Values{})
	if !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("after the logout: %v", a.header)
	}
	b.headers["Cookie"] = "tasker=!!!"
	if a := b.get(""); a.status != http.StatusSeeOther {
		t.Errorf("with a broken cookie: %d", a.status)
	}
}

// Off this host a cookie needs TLS, and no page can be named that is not here.
func TestLoginOverAProxy(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, "TASKER_API_TOKEN_FILE="+file)
	b.headers["Host"] = "tasker.example"
	a := b.post("login", url.Values{"token": {token}})
	cookie := a.header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "__Host-tasker=") || !strings.Contains(cookie, "; Path=/; HttpOnly; Secure; SameSite=Strict") ||
		strings.Contains(cookie, "Domain") {
		t.Errorf("cookie %q", cookie)
	}
	for _, next := range []string{"https://evil.example", "//evil.example", "/tasks", "tasks/../..", "tasks//x", `\\evil`, "javascript:x", "x\ny"} {
		if a := b.post("login", url.Values{"token": {token}, "next": {next}}); a.header.Get("Location") != "./" {
			t.Errorf("%q leads to %q", next, a.header.Get("Location"))
		}
	}
	b.headers["Origin"] = "http://tasker.example"
	b.want(b.post("login", url.Values{"token": {token}}), http.StatusBadRequest, "only if the page comes over https")
	delete(b.headers, "Origin")
	b.headers["Cookie"] = "tasker=" + strings.TrimPrefix(strings.Split(cookie, ";")[0], "__Host-tasker=")
	if a := b.get(""); a.status != http.StatusSeeOther {
		t.Errorf("a cookie without the prefix, which another host can set, is taken: %d", a.status)
	}
}

// Where the API itself speaks TLS, the cookie needs it on this host, too.
func TestLoginOverTLS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := testcerts.New(t).Issue(t, "api", time.Now().Add(time.Hour))
	b := open(t, "TASKER_API_TOKEN_FILE="+file, "TASKER_API_TLS_CERT_FILE="+certFile, "TASKER_API_TLS_KEY_FILE="+keyFile)
	b.run("worker", "w1", nil, tasker.Done)
	if a := b.get("tasks/worker/w1"); a.status != http.StatusSeeOther {
		t.Errorf("without a cookie: %d", a.status)
	}
	b.headers["Origin"] = strings.TrimSuffix(b.base, "/ui/")
	a := b.post("login", url.Values{"token": {token}})
	cookie, attributes, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if !strings.HasPrefix(cookie, "__Host-tasker=") || !strings.Contains(attributes, "; Secure") {
		t.Errorf("cookie %q", a.header.Get("Set-Cookie"))
	}
	b.headers["Cookie"] = cookie
	b.want(b.get("tasks/worker/w1"), http.StatusOK, "w1", "Log out")
	b.want(b.get("tasks/worker/w1/events"), http.StatusOK)
}
