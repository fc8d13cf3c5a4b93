package store_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
)

func (f fixture) bury(t *testing.T, l tasker.DeadLetter) (stored bool) {
	t.Helper()
	stored, err := f.DeadLetters.StoreDeadLetter(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func (f fixture) deadLetters(t *testing.T, q tasker.DeadLetterQuery) []tasker.DeadLetter {
	t.Helper()
	letters, err := f.DeadLetters.ListDeadLetters(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

func TestDeadLetters(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if letters := f.deadLetters(t, tasker.DeadLetterQuery{Limit: 10}); letters == nil || len(letters) != 0 {
			t.Errorf("an empty table has %v", letters)
		}
		body := append([]byte("\xff\x00 no UTF-8 '\\ "), bytes.Repeat([]byte("x"), 300_000)...)
		when := f.clock.now.Add(-time.Hour).Truncate(time.Microsecond)
		letter := tasker.DeadLetter{
			Key: "01A", Reason: "undecodable: ä", Queue: "tasker.worker.console1", MessageID: "m1", Body: body, Time: when,
		}
		if !f.bury(t, letter) {
			t.Fatal("a new letter is called known")
		}
		letters := f.deadLetters(t, tasker.DeadLetterQuery{Limit: 10})
		if len(letters) != 1 || !bytes.Equal(letters[0].Body, body[:tasker.DeadLetterPreview]) || letters[0].Size != int64(len(body)) {
			t.Fatalf("%d letters, the first with %d bytes of %d", len(letters), len(letters[0].Body), letters[0].Size)
		}
		found, err := f.DeadLetters.FindDeadLetter(t.Context(), letters[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if found.Reason != letter.Reason || found.Queue != letter.Queue || found.MessageID != "m1" || !found.Time.Equal(when) ||
			found.Size != int64(len(body)) || !bytes.Equal(found.Body, body) {
			t.Errorf("stored %+v", found)
		}
		if err := f.DeadLetters.DeleteDeadLetter(t.Context(), found.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, f.DeadLetters.DeleteDeadLetter(t.Context(), found.ID), tasker.NotFound)
		_, err = f.DeadLetters.FindDeadLetter(t.Context(), found.ID)
		wantCode(t, err, tasker.NotFound)
	})
}

// A letter is stored once, however often it comes, and is not confused with
// another.
func TestDeadLetterTwice(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		letter := tasker.DeadLetter{Key: "01A", Reason: "r", Queue: "q", MessageID: "m", Body: []byte("b")}
		others := []tasker.DeadLetter{letter}
		for _, change := range []func(*tasker.DeadLetter){
			func(l *tasker.DeadLetter) { l.Key = "01B" },
			func(l *tasker.DeadLetter) { l.Reason = "" },
			func(l *tasker.DeadLetter) { l.Queue, l.Reason = "", "qr" },
			func(l *tasker.DeadLetter) { l.MessageID = "n" },
			func(l *tasker.DeadLetter) { l.Body = nil },
		} {
			other := letter
			change(&other)
			others = append(others, other)
		}
		for round := range 2 {
			for i, other := range others {
				if stored := f.bury(t, other); stored != (round == 0) {
					t.Errorf("round %d: letter %d: stored %t", round, i, stored)
				}
			}
		}
		if n := len(f.deadLetters(t, tasker.DeadLetterQuery{Limit: 100})); n != len(others) {
			t.Errorf("%d letters, want %d", n, len(others))
		}
	})
}

func TestDeadLetterPages(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for i := range 5 {
			f.bury(t, tasker.DeadLetter{Key: string(rune('a' + i)), MessageID: string(rune('a' + i))})
		}
		var ids []string
		q := tasker.DeadLetterQuery{Limit: 2}
		for {
			page := f.deadLetters(t, q)
			for _, l := range page {
				ids = append(ids, l.MessageID)
			}
			if len(page) < q.Limit {
				break
			}
			q.Before = page[len(page)-1].ID
		}
		if want := []string{"e", "d", "c", "b", "a"}; !slices.Equal(ids, want) {
			t.Errorf("the pages hold %q, want %q", ids, want)
		}
	})
}

// Whatever a foreign client made up can be stored.
func TestStrangeDeadLetters(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		now := f.clock.now
		for i, when := range []time.Time{{}, time.Unix(0, 0), time.Unix(1<<40, 0), time.Unix(-1<<40, 0), now.Add(48 * time.Hour)} {
			if !f.bury(t, tasker.DeadLetter{
				Key: string(rune('a' + i)), Time: when, Reason: strings.Repeat("ä", 2000), Queue: "\xff" + strings.Repeat("q", 300),
				MessageID: "\x00" + strings.Repeat("😀", 100),
			}) {
				t.Errorf("%v: not stored", when)
			}
		}
		for _, l := range f.deadLetters(t, tasker.DeadLetterQuery{Limit: 10}) {
			// The clock of a fixture is corrected by the database's.
			if l.Time.Year() < 2026 || l.Time.After(f.Now()) || len(l.Reason) != 1024 || !utf8.ValidString(l.Queue) ||
				!utf8.ValidString(l.MessageID) ||
				len(l.Queue) > 255 || len(l.MessageID) > 255 || len(l.Body) != 0 {
				t.Errorf("%+v", l)
			}
		}
	})
}
