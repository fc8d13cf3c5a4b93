package placeholder_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers/internal/placeholder"
)

func values(name string) (json.RawMessage, error) {
	root, path, _ := strings.Cut(name, ".")
	if root != "payload" {
		return nil, fmt.Errorf("there is no %s", name)
	}
	var names []string
	if path != "" {
		names = strings.Split(path, ".")
	}
	v, ok := placeholder.Member(json.RawMessage(
		`{"text":"a \"b\" <c>","n":12345678901234567890,"yes":true,"none":null,"list":[1, {"x": "y"}],"":"empty"}`), names)
	if !ok {
		return nil, fmt.Errorf("there is no %s", name)
	}
	return v, nil
}

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                 "",
		"plain $ {} $5":                    "plain $ {} $5",
		"x ${payload.text} y":              `x a "b" <c> y`,
		"${payload.n}${payload.yes}":       "12345678901234567890true",
		"${payload.list}":                  `[1,{"x":"y"}]`,
		"${payload.list.1.x}":              "y",
		"$${payload.text} ${payload.yes}":  "${payload.text} true",
		"a$$${payload.yes}":                "a$${payload.yes}",
		"${payload.none}":                  "! ${payload.none} is null, which has no text form",
		"${payload.nope}":                  "! there is no payload.nope",
		"${payload.text.x}":                "! there is no payload.text.x",
		"${payload.list.2}":                "! there is no payload.list.2",
		"${payload.list.-1}":               "! there is no payload.list.-1",
		"${payload.list.x}":                "! there is no payload.list.x",
		"${payload.none.x}":                "! there is no payload.none.x",
		"${env.HOME}":                      "! there is no env.HOME",
		"${payload":                        `! missing } after "${payload": write ${name}, or $${ for a literal "${"`,
		"${}":                              `! invalid placeholder "${}": write ${name}, or $${ for a literal "${"`,
		"${pay load}":                      `! invalid placeholder "${pay load}": write ${name}, or $${ for a literal "${"`,
		"${payload${payload.yes}}":         `! invalid placeholder "${payload${payload.yes}": write ${name}, or $${ for a literal "${"`,
		"${payload.text}\n${payload.text}": "a \"b\" <c>\na \"b\" <c>",
	} {
		text, err := placeholder.Parse(in)
		got := ""
		if err == nil {
			got, err = text.Fill(values, nil)
		}
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTextEscapes(t *testing.T) {
	t.Parallel()
	text, err := placeholder.Parse("a=${payload.yes}&b=${payload.n}")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	got, err := text.Fill(values, func(before, value string) (string, error) {
		seen = append(seen, before)
		return "<" + value + ">", nil
	})
	if err != nil || got != "a=<true>&b=<12345678901234567890>" || strings.Join(seen, " ") != "a= a=<true>&b=" {
		t.Errorf("got %q, %q, %v", got, seen, err)
	}
	_, err = text.Fill(values, func(string, string) (string, error) { return "", errors.New("is wrong") })
	if err == nil || err.Error() != "${payload.yes} is wrong" {
		t.Errorf("got %v", err)
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"${payload.n}"`:                `12345678901234567890`,
		`"n: ${payload.n}"`:             `"n: 12345678901234567890"`,
		`"${payload.none}"`:             `null`,
		`"${payload.text}"`:             `"a \"b\" <c>"`,
		`"<${payload.text}>"`:           `"<a \"b\" <c>>"`,
		`{"a":["${payload.list}",1e3]}`: `{"a":[[1,{"x":"y"}],1e3]}`,
		`{"${payload.n}":null}`:         `{"${payload.n}":null}`,
		`[true,"$${x}"]`:                `[true,"${x}"]`,
		`["${payload.nope}"]`:           `! there is no payload.nope`,
		`{"a":{"b":"x${payload.no}"}}`:  `! there is no payload.no`,
		`{"a":["${"]}`:                  `! missing } after "${": write ${name}, or $${ for a literal "${"`,
	} {
		v, err := placeholder.ParseValue(json.RawMessage(in))
		var got json.RawMessage
		for range 2 { // twice, for it must not change itself
			if err == nil {
				got, err = v.Fill(values)
			}
		}
		if err != nil {
			got = json.RawMessage("! " + err.Error())
		}
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
