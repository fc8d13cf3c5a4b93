package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

// Settings are the settings that a task type has for its handler, as the configuration
// has them: maps, lists, strings, numbers and booleans.
type Settings map[string]any

// Decode decodes the settings into a struct, whose JSON tags name them. A field that
// is not set keeps its value. Unknown settings and values of the wrong type are
// errors that name the setting, joined with errors.Join. See [Duration], [Size]
// and [Mode].
func (s Settings) Decode(into any) error {
	return errors.Join(decodeSettings("", s, reflect.ValueOf(into).Elem())...)
}

func decodeSettings(path string, settings map[string]any, into reflect.Value) (mistakes []error) {
	fields := map[string]reflect.Value{}
	settingsFields(into, fields)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		switch field, ok := fields[name]; {
		case ok:
			mistakes = append(mistakes, decodeSetting(path+name, settings[name], field)...)
		case len(fields) == 0:
			mistakes = append(mistakes, fmt.Errorf("unknown setting %q: the handler has no settings", path+name))
		default:
			known := strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
			mistakes = append(mistakes, fmt.Errorf("unknown setting %q: the settings are %s", path+name, known))
		}
	}
	return mistakes
}

// decodeSetting decodes one setting. Those inside it are decoded one by one, so that
// errors name them.
func decodeSetting(name string, value any, into reflect.Value) (mistakes []error) {
	if inner, ok := value.(map[string]any); ok && !reflect.PointerTo(into.Type()).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		kind := into.Kind()
		if kind == reflect.Pointer && into.Type().Elem().Kind() == reflect.Struct {
			into.Set(reflect.New(into.Type().Elem()))
			into, kind = into.Elem(), reflect.Struct
		}
		switch kind {
		case reflect.Struct:
			return decodeSettings(name+".", inner, into)
		case reflect.Map:
			if into.IsNil() {
				into.Set(reflect.MakeMap(into.Type()))
			}
			for _, key := range slices.Sorted(maps.Keys(inner)) {
				member := reflect.New(into.Type().Elem()).Elem()
				mistakes = append(mistakes, decodeSetting(name+"."+key, inner[key], member)...)
				into.SetMapIndex(reflect.ValueOf(key), member)
			}
			return mistakes
		}
	}
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, into.Addr().Interface())
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return []error{fmt.Errorf("setting %q: must be %s, got %s", name, kindName(wrong.Type), wrong.Value)}
	}
	if err != nil {
		return []error{fmt.Errorf("setting %q: %w", name, err)}
	}
	return nil
}

// settingsFields collects the fields of a struct, including those of embedded ones.
func settingsFields(of reflect.Value, fields map[string]reflect.Value) {
	for i := range of.NumField() {
		field := of.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name != "":
			fields[name] = of.Field(i)
		case field.Anonymous && field.Type.Kind() == reflect.Struct:
			settingsFields(of.Field(i), fields)
		}
	}
}

// kindName returns the name of a type in messages.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	if k := t.Kind(); k >= reflect.Int && k <= reflect.Uintptr {
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	}
	return "a " + t.String()
}

// Duration is a setting: a number of seconds, or text such as "1m30s". It cannot be
// negative.
type Duration time.Duration

// UnmarshalJSON reads either form.
func (d *Duration) UnmarshalJSON(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	var length time.Duration
	switch v := v.(type) {
	case nil:
		return nil
	case float64:
		length = clock.Seconds(v)
	case string:
		number, err := strconv.ParseFloat(v, 64)
		if length = clock.Seconds(number); err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
			length, err = time.ParseDuration(v)
		}
		if err != nil {
			return fmt.Errorf("invalid duration %q: must be seconds, or text such as 1m30s", v)
		}
	default:
		return fmt.Errorf("invalid duration %s: must be seconds, or text such as 1m30s", text)
	}
	if length < 0 {
		return fmt.Errorf("invalid duration %s: must not be negative", text)
	}
	*d = Duration(length)
	return nil
}

// Size is a setting: a number of bytes, or text with a unit (KiB, MiB or GiB), such as
// "64MiB".
type Size int64

// UnmarshalJSON reads either form.
func (s *Size) UnmarshalJSON(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	var number float64
	switch v := v.(type) {
	case nil:
		return nil
	case float64:
		number = v
	case string:
		factor := 1.0
		for i, unit := range []string{"KiB", "MiB", "GiB"} {
			if digits, ok := strings.CutSuffix(v, unit); ok {
				v, factor = strings.TrimSpace(digits), float64(int64(1)<<(10*(i+1)))
			}
		}
		parsed, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return errSize(text)
		}
		number = parsed * factor
	default:
		return errSize(text)
	}
	if number < 0 || number > 1<<53 || number != math.Trunc(number) {
		return errSize(text)
	}
	*s = Size(number)
	return nil
}

func errSize(text []byte) error {
	return fmt.Errorf("invalid size %s: must be bytes, or text such as 64MiB", text)
}

// Mode is a setting: permissions, or a mask of them, as an octal number in quotes,
// such as "0644". Without quotes, YAML readers disagree on its base.
type Mode fs.FileMode

// UnmarshalJSON reads the text.
func (m *Mode) UnmarshalJSON(text []byte) error {
	var octal string
	if json.Unmarshal(text, &octal) != nil {
		return fmt.Errorf(`must be an octal number in quotes, such as "0644", got %s`, text)
	}
	bits, err := strconv.ParseUint(octal, 8, 32)
	if err != nil || bits > 0o777 {
		return fmt.Errorf(`must be an octal number from "000" to "777", got %q`, octal)
	}
	*m = Mode(bits)
	return nil
}
