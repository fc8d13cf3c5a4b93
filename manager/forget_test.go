package manager_test

import (
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/manager"
)

func forgetting(c *manager.Config) { c.Forget = true }

// removing returns the names of the endpoints with an open removal.
func (w *world) removing() (names []string) {
	w.t.Helper()
	removals, err := w.store.Removals(w.t.Context(), 10)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, removal := range removals {
		names = append(names, removal.Endpoint)
	}
	return names
}

// wantRegistered checks which endpoints are registered and which have an open
// removal.
func (w *world) wantRegistered(registered, removing []string) {
	w.t.Helper()
	list, err := w.store.ListEndpoints(w.t.Context(), tasker.EndpointQuery{Limit: 10})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
		if e.Alive {
			w.t.Errorf("endpoint %s was not released", e.Name)
		}
	}
	if !slices.Equal(names, registered) || !slices.Equal(w.removing(), removing) {
		w.t.Errorf("registered %q, being removed %q, want %q and %q", names, w.removing(), registered, removing)
	}
}

// A manager with Forget removes its endpoints once all results are stored.
func TestForget(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.store, returning, forgetting, func(c *manager.Config) { c.Endpoints = []string{"a", "b"} })
	task := w.post("one", "null", "a")
	w.await(task, tasker.ResultDone)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.wantRegistered(nil, []string{"a", "b"})
}

// Without the option the endpoints stay registered.
func TestForgetIsAskedFor(t *testing.T) {
	w := newWorld(t)
	if err := w.serve(w.store, returning).stop(); err != nil {
		t.Fatal(err)
	}
	w.wantRegistered([]string{"a"}, nil)
}

// Unfinished attempts keep their endpoint registered, and no other.
func TestForgetKeepsWhatHasNotEnded(t *testing.T) {
	t.Run("interrupted", func(t *testing.T) {
		w := newWorld(t)
		g := newGated()
		s := w.serve(w.store, g, forgetting, func(c *manager.Config) {
			c.Endpoints, c.ShutdownTimeout = []string{"a", "b"}, time.Millisecond
		})
		task := w.post("one", "null", "a")
		w.await(task, tasker.Running)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		w.wantRegistered([]string{"a"}, []string{"b"})
		if r, _ := w.result(task, "a"); r.State != tasker.Running {
			t.Errorf("%+v", r)
		}
	})
	t.Run("in the spool", func(t *testing.T) {
		w := newWorld(t)
		dir := t.TempDir()
		f := newFaulty(w.store, false, map[string]int{"finish": away})
		s := w.serve(f, returning, forgetting, inSpool(dir))
		task := w.post("one", "null", "a")
		w.spooled(dir, 1)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		w.wantRegistered([]string{"a"}, nil)
		// The next manager stores it and removes the endpoint.
		s = w.serve(w.store, returning, forgetting, inSpool(dir))
		w.await(task, tasker.ResultDone)
		w.spooled(dir, 0)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		w.wantRegistered(nil, []string{"a"})
	})
}

// A manager that ends with an error removes nothing.
func TestForgetAfterAnError(t *testing.T) {
	w := newWorld(t)
	f := newFaulty(w.store, false, nil)
	s := w.serve(f, returning, forgetting)
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	if err := <-s.done; err == nil {
		t.Fatal("Run returned nil")
	}
	w.wantRegistered([]string{"a"}, nil)
}

// If the database refuses the removal, the endpoints are still released.
func TestForgetFails(t *testing.T) {
	w := newWorld(t)
	f := newFaulty(w.store, false, map[string]int{"forget": 1})
	s := w.serve(f, returning, forgetting)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if n := f.called("forget"); n != 1 {
		t.Errorf("tried %d times", n)
	}
	w.wantRegistered([]string{"a"}, nil)
}
