package web

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func TestParseFilter(t *testing.T) {
	for filter, want := range map[string]url.Values{
		"":                                  {},
		"  upd-17 ":                         {"identifier": {"upd-17"}},
		"type:worker":                       {"task_type": {"worker"}},
		"type:a,b type:c":                   {"task_type": {"a", "b", "c"}},
		"status:failed,LOST":                {"status": {"FAILED", "LOST"}},
		`text:"no  space: left" since:2h`:   {"text": {"no  space: left"}, "since": {"2h"}},
		"endpoint:web07\tid:u":              {"endpoint": {"web07"}, "identifier": {"u"}},
		"since:2026-05-06T01:14:24Z":        {"since": {"2026-05-06T01:14:24Z"}},
		`label:a=b,c label:"k=x y" label:k`: {"label": {"a=b,c", "k=x y", "k"}},
		`text:"a"text:b`:                    nil,
		"endpoint:a endpoint:b":             nil,
		"nosuch:x":                          nil,
		"type:":                             nil,
		`text:"x`:                           nil,
		"a b":                               nil,
		":x":                                nil,
	} {
		got, err := parseFilter(filter)
		if (err != nil) != (want == nil) || want != nil && !cmp.Equal(got, want) {
			t.Errorf("parseFilter(%q) is %v, %v", filter, got, err)
		}
		if err != nil && tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("parseFilter(%q): code %s", filter, tasker.CodeOf(err))
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add(`type:worker status:FAILED,INCOMPLETE endpoint:web07 since:2h text:"no space" upd-`)
	f.Fuzz(func(_ *testing.T, filter string) { _, _ = parseFilter(filter) })
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 1500 * time.Millisecond: "1.5 s", 59 * time.Second: "59 s", 60 * time.Second: "1 min", 3599 * time.Second: "59 min 59 s",
		90 * time.Minute: "1 h 30 min", 47 * time.Hour: "47 h", 49 * time.Hour: "2 d 1 h",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Hour: "in 1 h", 0: "now", -time.Millisecond: "now", 5 * time.Minute: "5 min ago"} {
		if got := ago(d); got != want {
			t.Errorf("%v ago is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for want, c := range map[string]counts{
		"no endpoints":             {},
		"all 3 done":               {Expected: 3, Received: 3, OK: 3},
		"the one endpoint is done": {Expected: 1, Received: 1, OK: 1},
		"2 failed, 1 lost, 3 missing, 4 done of 10": {Expected: 10, Received: 7, Failed: 2, Lost: 1, Missing: 3, OK: 4},
		"1 canceled, 1 not finished of 2":           {Expected: 2, Received: 2, Canceled: 1, Open: 1},
		"1 done, 49 in later waves of 50":           {Expected: 50, Received: 1, OK: 1, Unopened: 49},
	} {
		if got := c.Words(); got != want {
			t.Errorf("%+v is %q, want %q", c, got, want)
		}
		n := 0
		for _, s := range c.Segments() {
			if s.X != n {
				t.Errorf("%+v: a segment at %d, want %d", c, s.X, n)
			}
			n += s.N
		}
		if n != c.Expected {
			t.Errorf("the bar of %+v has %d", c, n)
		}
	}
}

func TestEveryStateHasALook(t *testing.T) {
	script, err := fs.ReadFile(files, "assets/grid.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range tasker.TaskStatuses() {
		if _, ok := marks[string(status)]; !ok {
			t.Errorf("task status %s has no mark", status)
		}
	}
	for _, state := range append(slices.Clone(waitingStates),
		rolloutRunning, rolloutSoaking, "DONE", "CANCELED", string(tasker.WaveUnopened), string(tasker.WaveOpen), string(tasker.WaveEnded)) {
		if _, ok := marks[state]; !ok {
			t.Errorf("state %s of a rollout or a wave has no mark", state)
		}
	}
	for _, outcome := range tasker.SlotOutcomes() {
		if _, ok := marks[string(outcome)]; !ok {
			t.Errorf("outcome %s of a slot has no mark", outcome)
		}
	}
	letters := map[byte]bool{cellMissing: true, cellOther: true}
	for _, state := range tasker.ResultStates() {
		letter, ok := cells[state]
		if _, marked := marks[string(state)]; !marked || !ok || letters[letter] {
			t.Errorf("result state %s has no mark, or no letter of its own", state)
		}
		letters[letter] = true
		if !bytes.Contains(script, []byte(`"`+string(state)+`"]`)) {
			t.Errorf("grid.js does not draw %s", state)
		}
	}
	for letter := range letters {
		if !bytes.Contains(script, []byte("\n\t"+string(letter)+": [")) {
			t.Errorf("grid.js does not draw %q", letter)
		}
	}
	if got := markOf(tasker.TaskStatus("NEWER")); got.Word != "NEWER" || got.Glyph == "" {
		t.Errorf("an unknown status looks like %+v", got)
	}
}

func TestAssets(t *testing.T) {
	a := loadAssets()
	var packed bytes.Buffer
	for name, hashed := range a.names {
		body := a.byName[hashed].body
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".js") {
			if n := bytes.Count(body, []byte("\n")); n >= 300 {
				t.Errorf("%s has %d lines", name, n)
			}
			for _, unsafe := range []string{"eval(", "innerHTML = ", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://"} {
				if bytes.Contains(body, []byte(unsafe)) {
					t.Errorf("%s has %q", name, unsafe)
				}
			}
		}
		w2 := httptest.NewRecorder()
		Handler(Options{}).ServeHTTP(w2, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/assets/"+hashed, nil))
		if w2.Code != http.StatusOK || !strings.Contains(w2.Header().Get("Cache-Control"), "immutable") || w2.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", hashed, w2.Code, w2.Header())
		}
	}
	if packed.Len() >= 100<<10 || len(a.names) < 5 {
		t.Errorf("%d assets of %d bytes, compressed", len(a.names), packed.Len())
	}
	t.Logf("%d assets of %d bytes, compressed", len(a.names), packed.Len())
}

func TestLongDocumentsAreCut(t *testing.T) {
	long := []byte(`"` + strings.Repeat("ä", maxShown) + `"`)
	if d := documentOf(long); !d.Cut || len(d.Text) > maxShown+3 || d.Size != len(long) {
		t.Errorf("%d bytes are shown as %d", d.Size, len(d.Text))
	}
	// Short as it is, and long as it is shown.
	deep := []byte(strings.Repeat("[", 300) + strings.Repeat("]", 300))
	if d := documentOf(deep); !d.Cut || len(d.Text) > maxShown+3 {
		t.Errorf("%d bytes are shown as %d", d.Size, len(d.Text))
	}
	if d := documentOf([]byte("null")); d.Text != "" {
		t.Errorf("null is shown as %q", d.Text)
	}
	if got := foldedNames([]string{strings.Repeat("x", 1000)}); len(got) > maxNames+3 {
		t.Errorf("%d bytes of names", len(got))
	}
}

func TestNowIsCalmOnlyIfItLookedAtEverything(t *testing.T) {
	if !(nowPage{}).Calm() || !(nowPage{}).Empty() {
		t.Error("nothing is not calm")
	}
	for name, p := range map[string]nowPage{
		"waiting":    {Waiting: taskList{Rows: make([]taskRow, 1)}},
		"incomplete": {Incomplete: taskList{Rows: make([]taskRow, 1)}},
		"failed":     {Failed: taskList{Rows: make([]taskRow, 1)}},
		"unfinished": {Failed: taskList{More: true}},
		"letters":    {Letters: make([]client.DeadLetter, 1)},
		"silent":     {Silent: make([]tasker.Endpoint, 1)},
	} {
		if p.Calm() {
			t.Errorf("%s: calm", name)
		}
	}
}
