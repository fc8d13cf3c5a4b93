package dispatch_test

import (
	"fmt"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/wire"
)

// Check refuses what is larger than the broker accepts: the payload, if the message
// carries it.
func TestCheck(t *testing.T) {
	f := setUp(t, "console1")
	large, huge := 10_000, (1<<30)/5000+1
	check := func(protocol, bytes, endpoints, most int) tasker.Code {
		t.Helper()
		f.registerReading(t, protocol, "console1")
		f.broker.most = most
		task := f.task
		task.Payload, task.Endpoints = make([]byte, bytes), make([]string, endpoints)
		return tasker.CodeOf(f.dispatcher(t, dispatch.Config{MaxPayload: 20_000}).Check(t.Context(), task))
	}
	for name, test := range map[string]struct {
		got, want tasker.Code
	}{
		"without a limit":           {check(2, large, 0, 0), ""},
		"too large":                 {check(2, large, 0, 10_000), tasker.TooLarge},
		"small enough":              {check(2, large, 0, 11_000), ""},
		"not carried":               {check(2, 30_000, 0, 11_000), ""},
		"carried by version 1":      {check(1, 30_000, 0, 11_000), tasker.TooLarge},
		"listed, not carried":       {check(2, huge, 5000, 0), ""},
		"listed, and all too large": {check(1, huge, 5000, 0), tasker.Invalid},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %q, want %q", name, test.got, test.want)
		}
	}
}

// Version 1 is published as long as an endpoint of the type reads only that, and
// while it is unknown what they read.
func TestVersionOfMessages(t *testing.T) {
	const payload = `{"foo":"bar"}`
	for name, test := range map[string]struct {
		protocols []int // of the endpoints
		unknown   bool
		most      int64
		version   int
		carries   bool
	}{
		"no endpoint":          {version: 2, carries: true},
		"all new":              {protocols: []int{2, 2}, version: 2, carries: true},
		"of a later release":   {protocols: []int{3, 3}, version: 2, carries: true},
		"one old":              {protocols: []int{2, 1, 2}, most: 5, version: 1, carries: true},
		"without its protocol": {protocols: []int{0}, version: 1, carries: true},
		"unknown":              {protocols: []int{2}, unknown: true, version: 1, carries: true},
		"large":                {protocols: []int{2}, most: 5, version: 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			for i, protocol := range test.protocols {
				f.registerReading(t, protocol, fmt.Sprint("console", i))
			}
			f.registryFails = test.unknown
			if _, err := f.dispatch(t.Context(), t, dispatch.Config{MaxPayload: test.most}); err != nil {
				t.Fatal(err)
			}
			got, err := wire.DecodeTask(f.broker.published[0].Body)
			if err != nil || got.Version != test.version || test.carries != (string(got.Payload) == payload) {
				t.Errorf("published %s, %v", f.broker.published[0].Body, err)
			}
		})
	}
}
