package rollout_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	percent := func(n int) rollout.Amount { return rollout.Amount{Value: n, Percent: true} }
	number := func(n int) rollout.Amount { return rollout.Amount{Value: n} }
	two := number(2)
	for object, want := range map[string]rollout.Settings{
		`{"batch":5}`: {Every: number(5), Unreached: "count", ProceedAt: 100, OnHalt: "finish", OrderBy: "seed"},
		`{"batch":"10%","approve":null,"pause":null,"seed":""}`: {
			Every: percent(10), Unreached: "count", ProceedAt: 100, OnHalt: "finish", OrderBy: "seed",
		},
		`{"batch":[1,"10%","100%"],"pause":"30s","max_failures":"5%","wave_max_failures":2,"unreached":"ignore","wave_timeout":"15m",` +
			`"proceed_at":"90%","on_halt":"cancel","approve":[2,3],"order":"label:zone","seed":"x"}`: {
			Borders: []rollout.Amount{number(1), percent(10), percent(100)}, Pause: 30 * time.Second, MaxFailures: percent(5),
			WaveMaxFailures: &two, Unreached: "ignore", WaveTimeout: 15 * time.Minute, ProceedAt: 90, OnHalt: "cancel",
			Approve: rollout.Approve{Waves: []int{2, 3}}, OrderBy: "label:zone", Seed: "x",
		},
		`{"max_concurrency":"10%","ramp":true,"order":"name","approve":false,"pause":"0s","proceed_at":"100%"}`: {
			MaxConcurrency: percent(10), Ramp: true, Unreached: "count", ProceedAt: 100, OnHalt: "finish", OrderBy: "name",
		},
		`{"batch":5,"splay":"1m","skip_silent":"5m","order":"name","seed":"x"}`: {
			Every: number(5), Unreached: "count", ProceedAt: 100, OnHalt: "finish", OrderBy: "name", Seed: "x",
			Splay: time.Minute, SkipSilent: 5 * time.Minute,
		},
		`{"batch":1,"approve":true}`: {
			Every: number(1), Unreached: "count", ProceedAt: 100, OnHalt: "finish", OrderBy: "seed", Approve: rollout.Approve{All: true},
		},
	} {
		got := settings(t, object)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v\nwant\n%+v", object, got, want)
		}
		encoded, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again rollout.Settings
		if err := json.Unmarshal(encoded, &again); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s is encoded as %s: %v", object, encoded, err)
		}
	}
}

// fieldErrors returns the pointers of the errors, and their messages.
func fieldErrors(err error) (fields, messages []string) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if e, ok := errors.AsType[*tasker.Error](err); ok {
			fields, messages = append(fields, e.Field), append(messages, e.Message)
		}
	}
	return fields, messages
}

func TestImpossibleSettings(t *testing.T) {
	t.Parallel()
	const amount, limit = `must be a whole number from 1 to 1000000, or a percentage from "1%" to "100%"`,
		`must be a whole number from 0 to 1000000, or a percentage from "1%" to "100%"`
	for _, test := range []struct{ object, field, message string }{
		{`5`, "/rollout", "invalid rollout 5: must be an object with batch or max_concurrency"},
		{`null`, "/rollout", "invalid rollout null: must be an object with batch or max_concurrency"},
		{`{"batch":1`, "", "invalid rollout: not JSON"},
		{`{"batch":1} 2`, "", "invalid rollout: not JSON"},
		{`{"batch":1,"batch":2}`, "/rollout/batch", "duplicate member in rollout: remove one"},
		{`{}`, "/rollout/batch", `missing rollout.batch: list the waves, such as [1, "10%", "100%"], or use rollout.max_concurrency`},
		{`{"batch":1,"puase":"1s"}`, "/rollout/puase", `unknown field "rollout.puase": did you mean "pause"?`},
		{`{"batch":1,"q~":null}`, "/rollout/q~0", `unknown field "rollout.q~": use batch,`},
		{`{"batch":1,"Batch":1}`, "/rollout/Batch", `unknown field "rollout.Batch": did you mean "batch"?`},

		{`{"batch":0}`, "/rollout/batch", "invalid rollout.batch 0: " + amount},
		{`{"batch":-1}`, "/rollout/batch", "invalid rollout.batch -1: " + amount},
		{`{"batch":1.5}`, "/rollout/batch", "invalid rollout.batch 1.5: " + amount},
		{`{"batch":1e2}`, "/rollout/batch", "invalid rollout.batch 1e2: " + amount},
		{`{"batch":1000001}`, "/rollout/batch", "invalid rollout.batch 1000001: " + amount},
		{`{"batch":99999999999999999999}`, "/rollout/batch", "invalid rollout.batch 99999999999999999999: " + amount},
		{`{"batch":"0%"}`, "/rollout/batch", `invalid rollout.batch "0%": ` + amount},
		{`{"batch":"101%"}`, "/rollout/batch", `invalid rollout.batch "101%": ` + amount},
		{`{"batch":"5"}`, "/rollout/batch", `invalid rollout.batch "5": ` + amount},
		{`{"batch":"%"}`, "/rollout/batch", `invalid rollout.batch "%": ` + amount},
		{`{"batch":"05%"}`, "/rollout/batch", `invalid rollout.batch "05%": ` + amount},
		{`{"batch":"+5%"}`, "/rollout/batch", `invalid rollout.batch "+5%": ` + amount},
		{`{"batch":"2.5%"}`, "/rollout/batch", `invalid rollout.batch "2.5%": ` + amount},
		{`{"batch":true}`, "/rollout/batch", "invalid rollout.batch true: " + amount},
		{`{"batch":{}}`, "/rollout/batch", "invalid rollout.batch (an object): " + amount},
		{`{"batch":[]}`, "/rollout/batch", "invalid rollout.batch: must have 1 to 1000 entries, not 0"},
		{`{"batch":[1,"10%",0,"100%"]}`, "/rollout/batch/2", "invalid rollout.batch[2] 0: " + amount},
		{`{"batch":[1,null]}`, "/rollout/batch/1", "invalid rollout.batch[1] null: " + amount},
		{`{"batch":[[1],"100%"]}`, "/rollout/batch/0", "invalid rollout.batch[0] (an array): " + amount},
		{`{"batch":[5,5,"100%"]}`, "/rollout/batch/1", "invalid rollout.batch[1] 5: waves are cumulative and must rise: more than 5"},
		{`{"batch":[5,"10%",4,"100%"]}`, "/rollout/batch/2", "invalid rollout.batch[2] 4: waves are cumulative and must rise: more than 5"},
		{`{"batch":["30%","30%","100%"]}`, "/rollout/batch/1", `invalid rollout.batch[1] "30%": waves are cumulative and must rise: more than 30%`},
		{`{"batch":["100%","100%"]}`, "/rollout/batch/1", `invalid rollout.batch[1] "100%": must not follow "100%"`},
		{`{"batch":["100%",500]}`, "/rollout/batch/1", `invalid rollout.batch[1] 500: must not follow "100%"`},
		{`{"batch":[1,"50%"]}`, "/rollout/batch/1", `invalid rollout.batch[1] "50%": the last must be "100%"`},

		{`{"max_concurrency":0}`, "/rollout/max_concurrency", "invalid rollout.max_concurrency 0: " + amount},
		{`{"max_concurrency":5,"batch":1}`, "/rollout/max_concurrency", "invalid rollout.max_concurrency: not together with rollout.batch: remove one"},
		{`{"batch":1,"ramp":true}`, "/rollout/ramp", "invalid rollout.ramp: needs rollout.max_concurrency"},
		{`{"batch":1,"ramp":1}`, "/rollout/ramp", "invalid rollout.ramp 1: must be true or false"},
		{`{"max_concurrency":5,"pause":"1s"}`, "/rollout/pause", "invalid rollout.pause: needs waves: use rollout.batch, not rollout.max_concurrency"},
		{`{"max_concurrency":5,"wave_max_failures":0}`, "/rollout/wave_max_failures", "invalid rollout.wave_max_failures: needs waves"},
		{`{"max_concurrency":5,"wave_timeout":"1s"}`, "/rollout/wave_timeout", "invalid rollout.wave_timeout: needs waves"},
		{`{"max_concurrency":5,"proceed_at":"99%"}`, "/rollout/proceed_at", "invalid rollout.proceed_at: needs waves"},
		{`{"max_concurrency":5,"approve":true}`, "/rollout/approve", "invalid rollout.approve: needs waves"},
		{`{"max_concurrency":5,"approve":[1]}`, "/rollout/approve", "invalid rollout.approve: needs waves"},

		{`{"max_concurrency":5,"splay":"1s"}`, "/rollout/splay", "invalid rollout.splay: needs waves"},
		{`{"batch":1,"splay":"-1s"}`, "/rollout/splay", `invalid rollout.splay "-1s": must be a duration that is not negative`},
		{`{"batch":1,"splay":"1m","wave_timeout":"1m"}`, "/rollout/splay", "invalid rollout.splay 1m0s: must be shorter than rollout.wave_timeout, 1m0s"},
		{`{"batch":1,"skip_silent":"0s"}`, "/rollout/skip_silent", `invalid rollout.skip_silent "0s": must be a positive duration`},

		{`{"batch":1,"pause":"-1s"}`, "/rollout/pause", `invalid rollout.pause "-1s": must be a duration that is not negative`},
		{`{"batch":1,"pause":30}`, "/rollout/pause", "invalid rollout.pause 30: must be a duration"},
		{`{"batch":1,"pause":"30"}`, "/rollout/pause", `invalid rollout.pause "30": must be a duration`},
		{`{"batch":1,"wave_timeout":"0s"}`, "/rollout/wave_timeout", `invalid rollout.wave_timeout "0s": must be a positive duration`},
		{`{"batch":1,"max_failures":-1}`, "/rollout/max_failures", "invalid rollout.max_failures -1: " + limit},
		{`{"batch":1,"max_failures":"0%"}`, "/rollout/max_failures", `invalid rollout.max_failures "0%": ` + limit},
		{`{"batch":1,"wave_max_failures":"x"}`, "/rollout/wave_max_failures", `invalid rollout.wave_max_failures "x": ` + limit},
		{`{"batch":1,"unreached":"Count"}`, "/rollout/unreached", `invalid rollout.unreached "Count": must be "count" or "ignore"`},
		{`{"batch":1,"on_halt":7}`, "/rollout/on_halt", `invalid rollout.on_halt 7: must be "finish" or "cancel"`},
		{`{"batch":1,"proceed_at":5}`, "/rollout/proceed_at", `invalid rollout.proceed_at 5: must be a percentage from "1%" to "100%"`},
		{`{"batch":1,"proceed_at":"0%"}`, "/rollout/proceed_at", `invalid rollout.proceed_at "0%": must be a percentage`},
		{`{"batch":1,"approve":"yes"}`, "/rollout/approve", `invalid rollout.approve "yes": must be true, false or a list of waves`},
		{`{"batch":1,"approve":[0]}`, "/rollout/approve/0", "invalid rollout.approve[0] 0: must be the number of a wave, from 1 up"},
		{`{"batch":1,"approve":["2"]}`, "/rollout/approve/0", `invalid rollout.approve[0] "2": must be the number of a wave`},
		{`{"batch":1,"approve":[2,2]}`, "/rollout/approve/1", "invalid rollout.approve[1] 2: must be the number of a wave, from 1 up, and more than the 2 before"},
		{`{"batch":[1,"100%"],"approve":[2,3]}`, "/rollout/approve/1", "invalid rollout.approve[1] 3: rollout.batch has at most 2 waves"},
		{`{"batch":"30%","approve":[5]}`, "/rollout/approve/0", "invalid rollout.approve[0] 5: rollout.batch has at most 4 waves"},
		{`{"batch":1,"order":"random"}`, "/rollout/order", `invalid rollout.order "random": must be "seed", "name" or "label:KEY"`},
		{`{"batch":1,"order":"label:"}`, "/rollout/order", `invalid rollout.order "label:": must be`},
		{`{"batch":1,"order":"label:a b"}`, "/rollout/order", `invalid rollout.order "label:a b": must be`},
		{`{"batch":1,"seed":5}`, "/rollout/seed", "invalid rollout.seed 5: must be a string of at most 64 printable characters"},
		{`{"batch":1,"seed":"a\nb"}`, "/rollout/seed", `invalid rollout.seed "a\nb": must be a string`},
		{`{"batch":1,"seed":"` + strings.Repeat("é", 65) + `"}`, "/rollout/seed", `invalid rollout.seed "` + strings.Repeat("é", 32) + `..."`},
		{`{"batch":1,"seed":"x","order":"name"}`, "/rollout/seed", `invalid rollout.seed: has no effect if rollout.order is "name": remove one`},
	} {
		_, err := rollout.Decode([]byte(test.object))
		fields, messages := fieldErrors(err)
		if len(fields) != 1 || fields[0] != test.field || !strings.HasPrefix(messages[0], test.message) {
			t.Errorf("%s: %q %q, want %q %q", test.object, fields, messages, test.field, test.message)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := rollout.Decode([]byte(`{"batch":[0,"100%"],"pause":"x","what":1,"ramp":true}`))
	if fields, _ := fieldErrors(err); !slices.Equal(fields, []string{"/rollout/batch/0", "/rollout/pause", "/rollout/what"}) {
		t.Error(fields, err)
	}
	if tasker.CodeOf(err) != tasker.Invalid {
		t.Error(tasker.CodeOf(err))
	}
}

// FuzzDecode checks that what is accepted makes a plan, and that its encoded
// form is accepted and means the same.
func FuzzDecode(f *testing.F) {
	for _, object := range []string{
		`{"batch":[1,"10%","50%","100%"],"pause":"30s","max_failures":2,"approve":[2,4],"order":"label:zone","seed":"x"}`,
		`{"max_concurrency":"10%","ramp":true}`, `{"batch":"7%","approve":true,"proceed_at":"90%","wave_timeout":"15m"}`,
		`{"batch":[3],"x":[]}`, `{"batch":1e9,"approve":[1,2,2]}`,
	} {
		f.Add([]byte(object))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		s, err := rollout.Decode(object)
		if err != nil {
			return
		}
		for _, n := range []int{0, 1, 3, 50} {
			p, err := s.Plan(n)
			if err != nil {
				continue
			}
			total := 0
			for i, w := range p.Waves {
				total += w.Size
				if w.N != i+1 || w.Size < 1 || w.Until != total || w.BadAtMost > w.Until {
					t.Errorf("%s for %d: %+v", object, n, p)
				}
			}
			if p.Window == 0 && total != n || p.Window > n || p.HaltsAt < 1 {
				t.Errorf("%s for %d: %+v", object, n, p)
			}
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := rollout.Decode(encoded)
		if err != nil {
			t.Fatalf("%s: encoded as %s: %v", object, encoded, err)
		}
		if encodedAgain, _ := json.Marshal(again); string(encodedAgain) != string(encoded) {
			t.Errorf("%s: encoded as %s, then as %s", object, encoded, encodedAgain)
		}
	})
}
