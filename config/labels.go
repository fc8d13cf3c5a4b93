package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// labelsKey is the one key of the table that takes a mapping.
const labelsKey = "manager.labels"

const (
	maxLabels     = 64
	maxLabelValue = 255
)

var (
	labelPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$`)

	errLabels = errors.New("takes a mapping of names to text, such as {role: web, zone: eu}, or role=web,zone=eu in a variable or a flag")
)

// unfolded hides a mapping from viper, which would fold the case of its keys.
type unfolded struct{ value any }

func labels[T any](at func(*T) *map[string]string) setter[T] {
	return func(t *T, value any) error {
		read, err := readLabels(value)
		if err == nil {
			*at(t) = read
		}
		return err
	}
}

// readLabels reads a mapping of names to text, or text as the environment has
// it. No labels are a nil map.
func readLabels(value any) (map[string]string, error) {
	if hidden, ok := value.(unfolded); ok {
		value = hidden.value
	}
	var read map[string]string
	add := func(name, text string) error {
		switch {
		case !labelPattern.MatchString(name):
			return fmt.Errorf("has the label %s: its name takes 1 to 63 letters, digits, '.', '_', '/' or '-', the first a letter or digit", quote(name))
		case len(text) > maxLabelValue || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r == ',' || !unicode.IsPrint(r) }):
			return fmt.Errorf("has the label %s with a value that is none: give at most %d printable characters, without a comma", name, maxLabelValue)
		case len(read) == maxLabels:
			return fmt.Errorf("has more than %d labels", maxLabels)
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
				return nil, fmt.Errorf("has the label %s: it takes text, not %s: put it in quotes", clip(name), kindOf(v[name]))
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
				return nil, fmt.Errorf("has the label %s twice", clip(name))
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

// shownLabels gives labels as a file would.
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
