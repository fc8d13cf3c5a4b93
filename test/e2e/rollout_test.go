package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rolled is a task with its rollout.
type rolled struct {
	Task struct {
		Status  string
		Rollout struct {
			State         string
			Reason        string
			Wave          int
			HaltsAt       int `json:"halts_at"`
			Bad, Forgiven []string
			Waves         []struct{ Size, Until int }
		}
	}
	Summary struct{ Expected, Received, Unopened int }
}

// waves is a type whose program fails at chosen endpoints, and notes where it ran.
type waves struct {
	*system
	dir string
}

const noted = `echo "$TASKER_ENDPOINT" >> "%[1]s/$TASKER_IDENTIFIER"; test ! -e "%[1]s/bad-$TASKER_ENDPOINT"`

// newWaves starts two APIs, the second of which only advances, and a manager for each ten of
// 50 endpoints.
func newWaves(t *testing.T) (f *waves, apis []*process) {
	t.Helper()
	dir := t.TempDir()
	script := filepath.Join(dir, "program")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"+fmt.Sprintf(noted, dir)+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, `TASKER_TASK_TYPES=[{name: program, handler: exec, settings: {command: ["`+script+`"]}}]`)
	apis = append(apis, s.api(), startProgram(t, s.program, append(slices.Clone(s.env), "TASKER_API_PORT="+freePort(t)), "api"))
	for first := 1; first <= 50; first += 10 {
		var flags []string
		for n := first + 1; n < first+10; n++ {
			flags = append(flags, "--endpoint", name(n))
		}
		s.manager(name(first), flags...)
	}
	s.until("50 endpoints to be registered", func() bool {
		var list struct{ Endpoints []struct{ Name string } }
		code, _, err := s.request(http.MethodGet, "/v1/endpoints?limit=100", "", &list)
		return err == nil && code == http.StatusOK && len(list.Endpoints) == 50
	})
	return &waves{s, dir}, apis
}

func name(n int) string { return fmt.Sprintf("web%02d", n) }

// bad has the program fail at endpoints, or not any more.
func (f *waves) bad(fails bool, numbers ...int) {
	f.t.Helper()
	for _, n := range numbers {
		file := filepath.Join(f.dir, "bad-"+name(n))
		err := os.Remove(file)
		if fails {
			err = os.WriteFile(file, nil, 0o600)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// ran returns where the program ran, sorted.
func (f *waves) ran(identifier string) []string {
	f.t.Helper()
	lines, err := os.ReadFile(filepath.Join(f.dir, identifier))
	if err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	return slices.Sorted(slices.Values(strings.Fields(string(lines))))
}

// rollout polls a rollout until it has a state.
func (f *waves) rollout(identifier, state string) rolled {
	f.t.Helper()
	var last rolled
	f.until("the rollout "+identifier+" to be "+state, func() bool {
		var r rolled
		code, _, err := f.request(http.MethodGet, "/program/"+identifier, "", &r)
		if err == nil && code == http.StatusOK {
			last = r
		}
		return last.Task.Rollout.State == state
	})
	return last
}

func (f *waves) act(path, body string) {
	f.t.Helper()
	f.until("POST "+path, func() bool {
		code, _, err := f.request(http.MethodPost, path, body, nil)
		return err == nil && code == http.StatusOK
	})
}

// wantOnce wants that the program ran once at each of the endpoints up to a number.
func (f *waves) wantOnce(identifier string, until int) {
	f.t.Helper()
	var want []string
	for n := 1; n <= until; n++ {
		want = append(want, name(n))
	}
	if ran := f.ran(identifier); !slices.Equal(ran, want) {
		f.t.Errorf("%s ran at %d endpoints, want %d, once each: %v", identifier, len(ran), until, ran)
	}
}

// A rollout halts at the third failure, and shows who failed; resumed, it goes to the end.
// With 10 % of 50 the sixth failure halts.
func TestRolloutHalts(t *testing.T) {
	t.Parallel()
	f, _ := newWaves(t)
	f.bad(true, 3, 8, 21)
	f.accept("program", `{"identifier":"two","rollout":{"batch":[1,"10%","50%","100%"],"max_failures":2,"order":"name"}}`)
	r := f.rollout("two", "HALTED")
	if ro := r.Task.Rollout; ro.HaltsAt != 3 || ro.Wave != 3 || !slices.Equal(ro.Bad, []string{"web03", "web08", "web21"}) ||
		!strings.Contains(ro.Reason, "3 of 50") || len(ro.Waves) != 4 || ro.Waves[2].Until != 25 {
		t.Errorf("%+v", ro)
	}
	if r.Summary.Expected != 50 || r.Summary.Unopened != 25 {
		t.Errorf("%+v", r.Summary)
	}
	f.bad(false, 3, 8, 21)
	f.act("/program/two/retry", `{"endpoints":"failed"}`)
	f.act("/program/two/resume", `{"reason":"mended"}`)
	r = f.rollout("two", "DONE")
	if len(r.Task.Rollout.Forgiven) > 0 || len(r.Task.Rollout.Bad) > 0 {
		t.Errorf("%+v", r.Task.Rollout)
	}
	f.await("/program/two", "DONE")
	if ran := f.ran("two"); len(ran) != 53 || len(slices.Compact(ran)) != 50 {
		t.Errorf("it ran at %v", ran)
	}

	f.bad(true, 10, 20, 30, 40, 45, 50)
	f.accept("program", `{"identifier":"ten","rollout":{"max_concurrency":5,"max_failures":"10%","order":"name"}}`)
	if r := f.rollout("ten", "DONE"); r.Task.Rollout.HaltsAt != 6 || len(r.Task.Rollout.Bad) != 6 {
		t.Errorf("%+v", r.Task.Rollout) // the sixth is the very last endpoint: nothing is left to halt
	}
	f.bad(true, 1)
	f.accept("program", `{"identifier":"sixth","rollout":{"batch":["90%","100%"],"max_failures":"10%","wave_max_failures":"100%","order":"name"}}`)
	if r := f.rollout("sixth", "HALTED"); r.Task.Rollout.Wave != 1 || len(r.Task.Rollout.Bad) != 6 {
		t.Errorf("%+v", r.Task.Rollout)
	}
	f.act("/program/sixth/cancel", "")
	f.await("/program/sixth", "CANCELED")
	f.wantOnce("sixth", 45)
}

// APIs are killed while waves end and open, one after the other: no endpoint is skipped, and
// none runs twice.
func TestRolloutKills(t *testing.T) {
	t.Parallel()
	f, apis := newWaves(t)
	f.accept("program", `{"identifier":"kills","rollout":{"batch":2,"order":"name"}}`)
	for kills := 0; ; kills++ {
		f.until("more to run", func() bool { return len(f.ran("kills")) >= min(48, 4*(kills+1)) })
		if len(f.ran("kills")) >= 48 {
			break
		}
		victim := kills % len(apis)
		apis[victim].kill()
		if victim == 0 {
			apis[0] = f.api()
		} else {
			apis[1] = startProgram(f.t, f.program, append(slices.Clone(f.env), "TASKER_API_PORT="+freePort(f.t)), "api")
		}
		t.Log("killed API " + strconv.Itoa(victim))
	}
	f.rollout("kills", "DONE")
	f.await("/program/kills", "DONE")
	f.wantOnce("kills", 50)
}
