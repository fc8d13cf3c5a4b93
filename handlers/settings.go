package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are the settings of one task type for its handler, as the
// configuration gives them: maps, lists, strings, numbers and booleans.
type Settings map[string]any

// Decode reads the settings into a struct, whose JSON tags name them; what is
// not set keeps the value that it has. Unknown settings and values of another
// kind are errors that name the setting, joined where there are several. See
// [Duration] and [Size].
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
			mistakes = append(mistakes, fmt.Errorf("unknown setting %q: it has no settings", path+name))
		default:
			mistakes = append(mistakes, fmt.Errorf("unknown setting %q: it has %s", path+name, strings.Join(slices.Sorted(maps.Keys(fields)), ", ")))
		}
	}
	return mistakes
}

// decodeSetting reads one setting. Those inside of it are read one by one, so
// that mistakes name them.
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
		return []error{fmt.Errorf("setting %q holds a %s: give %s", name, wrong.Value, kindName(wrong.Type))}
	}
	if err != nil {
		return []error{fmt.Errorf("setting %q: %w", name, err)}
	}
	return nil
}

// settingsFields collects the fields of a struct, those of embedded ones too.
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

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a mapping"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number that fits"
}

// Duration is a setting: a number of seconds, or text such as "1m30s", not
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
		length = seconds(v)
	case string:
		number, err := strconv.ParseFloat(v, 64)
		if length = seconds(number); err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
			length, err = time.ParseDuration(v)
		}
		if err != nil {
			return fmt.Errorf("%q is no duration: give seconds, or text such as 1m30s", v)
		}
	default:
		return fmt.Errorf("%s is no duration: give seconds, or text such as 1m30s", text)
	}
	if length < 0 {
		return fmt.Errorf("%s is negative: give a duration of 0 and more", text)
	}
	*d = Duration(length)
	return nil
}

// seconds makes a duration of a number, the longest one where it is too great.
func seconds(n float64) time.Duration {
	if n > math.MaxInt64/float64(time.Second)/2 {
		return math.MaxInt64 / 2
	}
	return time.Duration(n * float64(time.Second))
}

// Size is a setting: a number of bytes, or text with the unit KiB, MiB or GiB,
// such as "64MiB".
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
	return fmt.Errorf("%s is no size: give bytes, or text such as 64MiB", text)
}
