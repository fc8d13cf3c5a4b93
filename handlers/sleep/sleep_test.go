package sleep_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
	"github.com/taskerhq/tasker/handlers/sleep"
)

func TestRefusesPayloads(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, sleep.New, nil)
	for _, payload := range []string{
		"null", "{}", `{"seconds": null}`, `{"seconds": "1"}`, `{"seconds": -0.1}`, `{"seconds": 1e300}`, `{"seconds": 1e999}`,
		`{"seconds": 1, "more": 2}`, "[]", "5", "", "{",
	} {
		result, err := handlertest.Handle(t, h, payload)
		if err == nil || result != "" || !handlers.IsPermanent(err) || handlers.Errnr(err) != tasker.ErrnrHandler {
			t.Errorf("%s: got %s, %v; want a permanent error", payload, result, err)
		}
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, sleep.New, nil)
	for payload, want := range map[string][]string{
		`{"seconds": 2.5}`: {"0/3 sleeping", "1/3 sleeping", "2/3 sleeping", "3/3 sleeping"},
		`{"seconds": 0}`:   {"0/0 sleeping"},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec := handlertest.NewRecorder()
			if _, err := h.Handle(t.Context(), rec.Request(payload)); err != nil || !slices.Equal(rec.Progresses(), want) {
				t.Errorf("%s: got %v, %v; want %v", payload, rec.Progresses(), err, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		rec := handlertest.NewRecorder()
		if _, err := h.Handle(t.Context(), rec.Request(`{"seconds": 1e9}`)); err != nil || len(rec.Progresses()) > 1100 {
			t.Errorf("got %d reports, %v", len(rec.Progresses()), err)
		}
	})
}
