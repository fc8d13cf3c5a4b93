package store_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

func hash(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// tokenOf returns the endpoint of a valid token, or "".
func (f fixture) tokenOf(t *testing.T, n byte) string {
	t.Helper()
	found, err := f.Tokens.FindTokens(t.Context(), [][]byte{hash(n), hash(255)})
	if err != nil || len(found) > 1 {
		t.Fatal(found, err)
	}
	token := found[string(hash(n))]
	if token.ValidUntil != nil && !f.Now().Before(*token.ValidUntil) {
		return ""
	}
	return token.Endpoint
}

func (f fixture) revision(t *testing.T) int64 {
	t.Helper()
	revision, err := f.Tokens.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// An endpoint's token can be replaced: the old one is valid for the overlap, and
// never for longer than was said.
func TestTokens(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		_, err := f.Tokens.RotateToken(t.Context(), "a", hash(1), time.Hour)
		wantCode(t, err, tasker.NotFound)
		first, err := f.Tokens.AddToken(t.Context(), "a", hash(1))
		if err != nil || first.Endpoint != "a" || first.ID == 0 || !first.CreatedTime.Equal(f.Now()) || first.ValidUntil != nil {
			t.Fatalf("%+v, %v", first, err)
		}
		_, err = f.Tokens.AddToken(t.Context(), "a", hash(2))
		wantCode(t, err, tasker.Conflict)
		if _, err := f.Tokens.AddToken(t.Context(), "b", hash(3)); err != nil {
			t.Fatal(err)
		}

		before := f.revision(t)
		if _, err := f.Tokens.RotateToken(t.Context(), "a", hash(4), time.Hour); err != nil {
			t.Fatal(err)
		}
		if f.revision(t) == before {
			t.Error("the rotation did not change the revision")
		}
		// A second rotation does not prolong what the first one ended.
		f.clock.advance(30 * time.Minute)
		if _, err := f.Tokens.RotateToken(t.Context(), "a", hash(5), 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		valid := func(want ...byte) {
			t.Helper()
			var got []byte
			for n := range byte(9) {
				if f.tokenOf(t, n) == "a" {
					got = append(got, n)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("valid are %v, want %v", got, want)
			}
		}
		valid(1, 4, 5)
		f.clock.advance(30 * time.Minute)
		valid(4, 5)
		// And a rotation without overlap ends all others.
		if _, err := f.Tokens.RotateToken(t.Context(), "a", hash(6), 0); err != nil {
			t.Fatal(err)
		}
		valid(6)
		if f.tokenOf(t, 3) != "b" {
			t.Error("the other endpoint has lost its token")
		}
		list, err := f.Tokens.ListTokens(t.Context(), 0, 10)
		if err != nil || len(list) != 2 || list[0].Endpoint != "b" || list[1].Endpoint != "a" {
			t.Errorf("listed are %+v, %v", list, err)
		}
		if list, err = f.Tokens.ListTokens(t.Context(), list[0].ID, 1); err != nil || len(list) != 1 || list[0].Endpoint != "a" {
			t.Errorf("the second page is %+v, %v", list, err)
		}
	})
}

func TestUseTokens(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		token, err := f.Tokens.AddToken(t.Context(), "a", hash(1))
		if err != nil {
			t.Fatal(err)
		}
		before := f.revision(t)
		for _, day := range []string{"2026-05-06", "2026-05-08", "2026-05-07"} {
			if err := f.Tokens.UseTokens(t.Context(), []int64{token.ID, 999}, day); err != nil {
				t.Fatal(err)
			}
		}
		list, err := f.Tokens.ListTokens(t.Context(), 0, 10)
		if err != nil || len(list) != 1 || list[0].LastUsed != "2026-05-08" {
			t.Errorf("%+v, %v", list, err)
		}
		if f.revision(t) != before {
			t.Error("using a token has changed the revision: every gateway would look up all of them")
		}
	})
}

// The tokens of an endpoint end in the transaction that removes it. A manager
// that only stops with --forget ends none: its machine may come back.
func TestRemovalEndsTokens(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for n, name := range []string{"a", "b", "c"} {
			if _, err := f.Tokens.AddToken(t.Context(), name, hash(byte(n))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Tokens.RotateToken(t.Context(), "a", hash(3), time.Hour); err != nil {
			t.Fatal(err)
		}
		f.acquire(t, managerA, "a", "c")
		_, err := f.Removals.RemoveEndpoint(t.Context(), "a")
		wantCode(t, err, tasker.Conflict)
		if f.tokenOf(t, 0) != "a" || f.tokenOf(t, 3) != "a" {
			t.Error("a refused removal has ended a token")
		}
		before := f.revision(t)
		f.detach(t, f.remove(t, managerA, "a"), 0)
		if f.tokenOf(t, 0) != "" || f.tokenOf(t, 3) != "" {
			t.Error("a token has outlived its endpoint")
		}
		if f.revision(t) == before {
			t.Error("the removal did not change the revision")
		}
		// One that has never registered can be removed for its token.
		removal, err := f.Removals.RemoveEndpoint(t.Context(), "b")
		if err != nil || removal.Endpoint != "b" || len(removal.TaskTypes) != 0 {
			t.Fatalf("%+v, %v", removal, err)
		}
		f.detach(t, removal, 0)
		if f.tokenOf(t, 1) != "" {
			t.Error("the token of an endpoint that never came is valid")
		}
		_, err = f.Removals.RemoveEndpoint(t.Context(), "b")
		wantCode(t, err, tasker.NotFound)
		if kept, err := f.Endpoints.ForgetEndpoints(t.Context(), managerA, []string{"c"}); err != nil || len(kept) > 0 {
			t.Fatal(kept, err)
		}
		if f.tokenOf(t, 2) != "c" {
			t.Error("a manager that stopped with --forget has ended its token")
		}
	})
}

// Of two that add a token at once, one gets it.
func TestAddTokenAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var added, refused int
		var mu sync.Mutex
		var all sync.WaitGroup
		for n := range byte(8) {
			all.Go(func() {
				_, err := f.Tokens.AddToken(t.Context(), "a", hash(n))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					added++
				case tasker.CodeOf(err) == tasker.Conflict:
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if added != 1 || refused != 7 {
			t.Errorf("%d were added and %d refused", added, refused)
		}
	})
}
