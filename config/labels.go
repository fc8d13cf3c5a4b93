package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taskerhq/tasker/internal/selector"
)

const maxLabels = 64

var errLabels = errors.New("must be a mapping of names to text, such as {role: web, zone: eu}, or role=web,zone=eu in a variable or flag")

// unfolded hides a mapping from viper, which would fold the case of its keys.
type unfolded struct{ value any }

func labels(at *map[string]string) codec {
	return codec{
		set: func(value any) error {
			read, err := readLabels(value)
			if err == nil {
				*at = read
			}
			return err
		},
		get: func() any { return shownLabels(*at) },
	}
}

// readLabels reads a mapping of names to text, or text as the environment has
// it. Without labels the map is nil.
func readLabels(value any) (map[string]string, error) {
	if hidden, ok := value.(unfolded); ok {
		value = hidden.value
	}
	var read map[string]string
	add := func(name, text string) error {
		switch {
		case !selector.IsLabelKey(name):
			return fmt.Errorf("invalid label %s: must be 1-63 letters, digits, '.', '_', '/' or '-', and start with a letter or "+
				"digit", quote(name))
		case selector.ValidLabelValue(text) != nil || strings.Contains(text, ","):
			return fmt.Errorf("invalid label %q: its value must be at most %d printable characters without a comma",
				name, selector.MaxLabelValue)
		case len(read) == maxLabels:
			return fmt.Errorf("must be at most %d labels", maxLabels)
		}
		if read == nil {
			read = map[string]string{}
		}
		read[name] = text
		return nil
	}
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text, ok := v[name].(string)
			if !ok {
				return nil, fmt.Errorf("invalid label %q: its value must be text, got %s: put it in quotes", clip(name), kindOf(v[name]))
			}
			if err := add(name, text); err != nil {
				return nil, err
			}
		}
	case string:
		for pair := range strings.SplitSeq(v, ",") {
			name, text, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok && v == "" {
				break
			}
			if !ok {
				return nil, errLabels
			}
			if _, twice := read[name]; twice {
				return nil, fmt.Errorf("duplicate label %q", clip(name))
			}
			if err := add(name, text); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errLabels
	}
	return read, nil
}

// shownLabels returns labels as a file would have them.
func shownLabels(labels map[string]string) any {
	if len(labels) == 0 {
		return ""
	}
	shown := make(map[string]any, len(labels))
	for name, text := range labels {
		shown[name] = text
	}
	return shown
}
