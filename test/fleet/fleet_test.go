package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/noop"
)

func TestMain(m *testing.M) {
	noop.Program()
	simulator()
	m.Run()
}

func TestParseRefuses(t *testing.T) {
	for _, args := range []string{
		"-endpoints 0", "-endpoints 5 -real 6", "-apis 0", "-tasks 0", "-late 0s", "-limit 0s", "-payload 3", "-output xml", "-mode other", "stray", "-unknown",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%s: %v", args, err)
		}
	}
	opts, err := parse([]string{"-endpoints", "10000"}, io.Discard)
	if err != nil || opts.real != 20 || opts.perManager != 50 {
		t.Errorf("10,000 endpoints: %+v, %v", opts, err)
	}
}

// A small fleet must take every task to every endpoint. No time is checked.
func TestFleet(t *testing.T) {
	testservices.Need(t)
	for _, args := range []string{"-apis 1 -mode database", "-apis 2 -mode gateway"} {
		opts, err := parse(strings.Fields("-endpoints 50 -per-simulator 30 -per-manager 7 -real 2 -tasks 3 -idle 100ms -late 5m -output json"+
			" -load 100ms -inflight 2 "+args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var out, progress bytes.Buffer
		if err := run(t.Context(), opts, &out, &progress); err != nil {
			t.Fatalf("%v\n%s", err, progress.String())
		}
		var r report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Tasks) != 3 || r.LoadTasks < 2 || r.Get.Bytes < 50*100 || r.Statements <= 0 || r.Memory[partSimulated] <= 0 {
			t.Errorf("report: %+v", r)
		}
		for i, task := range r.Tasks {
			if task.Missing != 0 || task.Stored <= 0 || task.LastReceived <= 0 {
				t.Errorf("task %d: %+v", i+1, task)
			}
		}
		if text := r.text(); !strings.Contains(text, "missing 0") || strings.Contains(text, "FAILED") {
			t.Errorf("text output %q", text)
		}
	}
}

// What is missing makes the run fail.
func TestLateResultsAreAFailure(t *testing.T) {
	testservices.Need(t)
	opts, err := parse(strings.Fields("-endpoints 2 -real 0 -tasks 1 -idle 0 -late 1ns -output json"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	if err := run(t.Context(), opts, &out, &progress); !errors.Is(err, errFailed) {
		t.Errorf("the run returned %v\n%s", err, progress.String())
	}
	if !strings.Contains(out.String(), "2 results missing") {
		t.Errorf("output %s", out.String())
	}
}
