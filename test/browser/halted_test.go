package browser

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// maxTabs is how often a person presses Tab to get to a button at most.
const maxTabs = 100

// tabTo presses Tab until what has the focus begins with a text.
func (b *tab) tabTo(text string) {
	b.t.Helper()
	at := `(document.activeElement.textContent || "").trim().startsWith(` + strconv.Quote(text) + `) &&
		/^(SUMMARY|BUTTON|A)$/.test(document.activeElement.tagName)`
	for range maxTabs {
		b.do(chromedp.KeyEvent(kb.Tab))
		if ask(b, chromedp.Evaluate[bool](at)) {
			return
		}
	}
	b.t.Fatalf("no key leads to %q", text)
}

// press does with the keyboard alone what a click on a text does.
func (b *tab) press(text string) {
	b.t.Helper()
	b.tabTo(text)
	b.do(chromedp.KeyEvent(kb.Enter))
}

// says waits until a part of the page says all of some texts.
func (b *tab) says(id string, texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		b.until(`document.getElementById(` + strconv.Quote(id) + `)?.textContent.includes(` + strconv.Quote(text) + `)`)
	}
}

// A person with a browser and a keyboard alone sees a rollout halt on the page that is open,
// with who is bad and why, has it run again there, resumes it, and sees it end.
func TestHaltedRolloutByKeyboard(t *testing.T) {
	dir := t.TempDir()
	begin, mended := filepath.Join(dir, "begin"), filepath.Join(dir, "mended")
	script := "while ! test -e " + begin + "; do sleep 0.05; done; test -e " + mended
	w := serve(t, `TASKER_TASK_TYPES=[{name: program, handler: exec, settings: {command: [sh, -c, "`+script+`"]}}]`,
		"web1", "web2", "web3", "web4", "web5", "web6")
	rollout := client.NewRollout{Batch: []any{1, "50%", "100%"}, Order: "name"}
	if _, _, err := w.api.CreateTask(t.Context(), "program", client.NewTask{Identifier: "r", Rollout: &rollout}); err != nil {
		t.Fatal(err)
	}
	b := open(t, false, 1280, 800)
	b.do(chromedp.Navigate(w.base+"tasks/program/r"), chromedp.Evaluate[chromedp.Void](`window.kept = true`))
	b.until(`document.getElementById("live").dataset.state === "live"`)
	b.says("rollout", "RUNNING", "wave 1 of 3")

	touch := func(file string) {
		t.Helper()
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch(begin)
	b.says("rollout", "HALTED", "bad endpoints: 1 of 6; the rollout halts at 1", "1 bad endpoint: web1")
	b.says("actions", "Resume the rollout", "and forgive 1 endpoint", "Retry")
	if title := ask(b, chromedp.Title()); !strings.HasPrefix(title, "■") {
		t.Errorf("the title of a halted one is %q", title)
	}
	if !ask(b, chromedp.Evaluate[bool](`window.kept === true`)) {
		t.Error("the page was loaded again")
	}

	touch(mended)
	b.press("Retry…")
	b.press("Show whom it would run on again")
	b.until(`location.pathname.endsWith("/retry/plan")`)
	b.says("main", "Retry on 1 endpoint?", "web1")
	b.press("Run again on 1 endpoint")
	b.until(`location.pathname.endsWith("/tasks/program/r")`)
	b.says("rollout", "HALTED")
	b.says("actions", "nobody is forgiven")

	b.do(chromedp.Evaluate[chromedp.Void](`window.kept = true`))
	b.press("Resume the rollout…")
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("disk replaced"))
	b.until(`document.activeElement.name === "reason" && document.activeElement.value === "disk replaced"`)
	b.press("Resume")
	b.until(`window.kept !== true && document.getElementById("rollout") !== null`)
	b.says("rollout", "all endpoints have ended")
	b.says("head", string(tasker.Done), "all 6 done")
	got, err := w.api.Rollout(t.Context(), "program", "r")
	if err != nil || got.Rollout.State != "DONE" || len(got.Rollout.Forgiven)+len(got.Rollout.Bad) > 0 || got.Total.Done != 6 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range b.errors() {
		t.Error(wrong)
	}
}

// What has the focus keeps it when the part of the page around it is renewed.
func TestFocusStays(t *testing.T) {
	w := start(t)
	b := open(t, false, 1280, 800)
	b.do(chromedp.Navigate(w.base + "tasks/worker/waits"))
	b.until(`document.getElementById("live").dataset.state === "live"`)
	b.tabTo("Promote the rollout…")
	if _, err := w.api.Pause(t.Context(), "worker", "waits", client.Pause{}); err != nil {
		t.Fatal(err)
	}
	b.says("actions", "Resume the rollout")
	if !ask(b, chromedp.Evaluate[bool](`document.activeElement.textContent.startsWith("Promote")`)) {
		t.Error("the focus is lost")
	}
}
