package store_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

const uid = "01KBTJ5A3V0Q4S9T8C7M6N5P4R"

func signedTask(identifier, uid string) tasker.Task {
	return tasker.Task{
		Type: "worker", Identifier: identifier, Payload: []byte(`{"foo":"bar"}`), Endpoints: []string{"a"},
		Signature: &tasker.Signature{
			UID: uid, Issued: 1778030000, Expires: 1778040000, Key: "SHA256:" + strings.Repeat("k", 43), Targets: "a",
			SSHSig: "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
		},
	}
}

// A task keeps its signature, and shows it wherever it is read. What endpoints verify is
// not in lists.
func TestSignature(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		want := *signedTask("signed", uid).Signature
		shown := want
		shown.Targets, shown.SSHSig = "", ""
		stored, created, err := f.Tasks.CreateTask(t.Context(), signedTask("signed", uid))
		if err != nil || !created || !cmp.Equal(stored.Signature, &want) {
			t.Fatalf("created %t, %+v, %v", created, stored.Signature, err)
		}
		if _, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "plain", Endpoints: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		found, err := f.Tasks.FindTask(t.Context(), "worker", "signed")
		if err != nil || !cmp.Equal(found.Signature, &shown) {
			t.Errorf("found: %+v, %v", found.Signature, err)
		}
		peeked, err := f.Tasks.PeekTask(t.Context(), "worker", "signed", 1000)
		if err != nil || !cmp.Equal(peeked.Signature, &shown) {
			t.Errorf("peeked: %+v, %v", peeked.Signature, err)
		}
		viewed, err := f.Tasks.ViewTask(t.Context(), "worker", "signed")
		if err != nil || !cmp.Equal(viewed.Signature, &shown) {
			t.Errorf("viewed: %+v, %v", viewed.Signature, err)
		}
		listed, _, err := f.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Limit: 10, MaxBytes: 1 << 20})
		if err != nil || len(listed) != 2 {
			t.Fatalf("%+v, %v", listed, err)
		}
		for _, task := range listed {
			if (task.Signature != nil) != (task.Identifier == "signed") || task.Signature != nil && !cmp.Equal(task.Signature, &shown) {
				t.Errorf("listed: %s, %+v", task.Identifier, task.Signature)
			}
		}
	})
}

// The same POST is the same task, whatever its signature: that of the first one stays. A
// signature is one task's.
func TestSignatureIsOneTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const other = "01KBTJ5A3V0Q4S9T8C7M6N5P4S"
		if _, _, err := f.Tasks.CreateTask(t.Context(), signedTask("first", uid)); err != nil {
			t.Fatal(err)
		}
		again, created, err := f.Tasks.CreateTask(t.Context(), signedTask("first", other))
		if err != nil || created || again.Signature == nil || again.Signature.UID != uid {
			t.Errorf("the same again: created %t, %+v, %v", created, again.Signature, err)
		}
		const taken = "the uid of the signature is that of task worker/first: sign each task anew"
		_, _, err = f.Tasks.CreateTask(t.Context(), signedTask("second", uid))
		if tasker.CodeOf(err) != tasker.Conflict || err.Error() != taken {
			t.Errorf("another task with it: %v", err)
		}
		if _, found, err := f.Tasks.SameTask(t.Context(), signedTask("second", uid)); found || tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("asked for: %t, %v", found, err)
		}
		// Among several that are stored together, one has it.
		creations, err := f.Tasks.CreateTasks(t.Context(), []tasker.Task{
			signedTask("third", other), signedTask("fourth", other), {Type: "worker", Identifier: "fifth"}, signedTask("sixth", uid),
		})
		if err != nil {
			t.Fatal(err)
		}
		stored := 0
		for i, c := range creations {
			switch {
			case c.Err == nil && c.Created:
				stored++
			case tasker.CodeOf(c.Err) != tasker.Conflict || i == 2:
				t.Errorf("%d: %+v", i, c)
			}
		}
		if stored != 2 || creations[3].Err == nil {
			t.Errorf("%d are stored: %+v", stored, creations)
		}
	})
}

// Columns that an older program reserved are free for signatures of any key.
func TestSignatureFits(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		task := signedTask("large", uid)
		task.Endpoints = []string{strings.Repeat("e", 63)}
		task.Signature.Issued, task.Signature.Expires = 1<<62, 1<<62+1
		task.Signature.Targets, task.Signature.SSHSig = strings.Repeat("t", tasker.MaxSignedTargets), strings.Repeat("s", 16<<10)
		stored, _, err := f.Tasks.CreateTask(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		f.acquire(t, managerA, task.Endpoints...)
		recordings, err := f.Inbox.ReceiveResults(t.Context(), []ledger.Incoming{{
			ResultKey: tasker.ResultKey{TaskID: stored.ID, Endpoint: task.Endpoints[0]}, Manager: managerA, Type: "worker",
			Identifier: "large", State: tasker.Received,
		}})
		if err != nil || !cmp.Equal(recordings[0].Task.Signature, task.Signature) {
			t.Errorf("%v", err)
		}
	})
}
