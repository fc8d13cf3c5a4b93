package handlers_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/handlers"
)

type limits struct {
	Memory handlers.Size `json:"memory"`
	Files  int           `json:"files"`
}

type allSettings struct {
	Text     string            `json:"text"`
	Flag     bool              `json:"flag"`
	Number   float64           `json:"number"`
	Whole    int8              `json:"whole"`
	List     []string          `json:"list"`
	Map      map[string]string `json:"map,omitempty"`
	Any      any               `json:"any"`
	Duration handlers.Duration `json:"duration"`
	Limits   limits            `json:"limits"`
	Optional *limits           `json:"optional"`
	Own      string            // not a setting
}

func defaults() allSettings {
	return allSettings{Text: "default", Whole: 3, Duration: handlers.Duration(time.Second), Limits: limits{Memory: 7}, Own: "own"}
}

func TestSettingsDecode(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings handlers.Settings
		want     func(*allSettings)
	}{
		"nothing":    {nil, func(*allSettings) {}},
		"text":       {handlers.Settings{"text": "x"}, func(a *allSettings) { a.Text = "x" }},
		"empty text": {handlers.Settings{"text": ""}, func(a *allSettings) { a.Text = "" }},
		"null":       {handlers.Settings{"text": nil, "duration": nil}, func(*allSettings) {}},
		"the rest": {handlers.Settings{"flag": true, "number": 1.5, "whole": -3}, func(a *allSettings) {
			a.Flag, a.Number,
				a.Whole = true, 1.5, -3
		}},
		"a list and a map": {handlers.Settings{"list": []any{"a"}, "map": map[string]any{"k": "v"}}, func(a *allSettings) {
			a.List,
				a.Map = []string{"a"}, map[string]string{"k": "v"}
		}},
		"anything": {
			handlers.Settings{"any": map[string]any{"k": []any{1}}},
			func(a *allSettings) { a.Any = map[string]any{"k": []any{1.0}} },
		},
		"inside": {handlers.Settings{"limits": map[string]any{"files": 5}}, func(a *allSettings) { a.Limits.Files = 5 }},
		"inside a pointer": {
			handlers.Settings{"optional": map[string]any{"memory": "1KiB"}},
			func(a *allSettings) { a.Optional = &limits{Memory: 1024} },
		},
	} {
		got, want := defaults(), defaults()
		test.want(&want)
		if err := test.settings.Decode(&got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSettingsDecodeRefuses(t *testing.T) {
	t.Parallel()
	const names = "any, duration, flag, limits, list, map, number, optional, text, whole"
	for want, settings := range map[string]handlers.Settings{
		`unknown setting "Text": the settings are ` + names:             {"Text": "x"},
		`unknown setting "Own": the settings are ` + names:              {"Own": "x"},
		`unknown setting "limits.file": the settings are files, memory`: {"limits": map[string]any{"file": 1}},
		`unknown setting "optional.x": the settings are files, memory`:  {"optional": map[string]any{"x": 1}},
		`setting "text": must be a string, got number`:                  {"text": 1},
		`setting "flag": must be true or false, got string`:             {"flag": "true"},
		`setting "number": must be a number, got string`:                {"number": "1"},
		`setting "whole": must be an integer of 8 bits, got number 1.5`: {"whole": 1.5},
		`setting "whole": must be an integer of 8 bits, got number 128`: {"whole": 128},
		`setting "list": must be an array, got string`:                  {"list": "a"},
		`setting "map": must be an object, got array`:                   {"map": []any{}},
		`setting "map.b": must be a string, got number`:                 {"map": map[string]any{"a": "x", "b": 1}},
		"setting \"flag\": must be true or false, got number\nsetting \"map.b\": must be a string, got number\n" +
			"setting \"map.c\": must be a string, got bool\nunknown setting \"x\"": {
			"x": 1, "map": map[string]any{"b": 1, "c": true}, "flag": 1, "text": "well",
		},
		`setting "limits": must be an object, got number`:                           {"limits": 1},
		`setting "limits.memory": invalid size "much": must be bytes, or text such`: {"limits": map[string]any{"memory": "much"}},
		`setting "any": json: unsupported value: NaN`:                               {"any": math.NaN()},
	} {
		got := defaults()
		if err := settings.Decode(&got); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		`0`: 0, `1`: time.Second, `0.25`: 250 * time.Millisecond, `"1.5"`: 1500 * time.Millisecond, `"1m30s"`: 90 * time.Second,
		`"0"`: 0, `1e300`: math.MaxInt64 / 2, `null`: 7,
	} {
		got := handlers.Duration(7)
		if err := json.Unmarshal([]byte(text), &got); err != nil || time.Duration(got) != want {
			t.Errorf("%s: got %s, %v; want %s", text, time.Duration(got), err, want)
		}
	}
	for text, want := range map[string]string{
		`"soon"`: "invalid duration", `""`: "invalid duration", `"NaN"`: "invalid duration", `"Inf"`: "invalid duration",
		`true`: "invalid duration", `[1]`: "invalid duration",
		`-1`: "must not be negative", `"-1s"`: "must not be negative", `"-0.5"`: "must not be negative",
	} {
		var got handlers.Duration
		if err := json.Unmarshal([]byte(text), &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]handlers.Size{
		`0`: 0, `1024`: 1024, `"1024"`: 1024, `"64KiB"`: 64 << 10, `"1.5 MiB"`: 3 << 19, `"2GiB"`: 2 << 30, `null`: 7,
	} {
		got := handlers.Size(7)
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		`"much"`, `""`, `"KiB"`, `"1KB"`, `"1kib"`, `-1`, `0.5`, `"0.0001KiB"`, `1e300`, `"NaN"`, `"Inf"`,
		`true`, `{}`,
	} {
		var got handlers.Size
		if err := json.Unmarshal([]byte(text), &got); err == nil || !strings.Contains(err.Error(), "invalid size") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
