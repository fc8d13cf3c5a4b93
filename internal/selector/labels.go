package selector

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taskerhq/tasker/internal/x/text"
)

// The maximum lengths of a label, in bytes.
const (
	MaxLabelKey   = 63
	MaxLabelValue = 255
)

// The attributes, which are keys that are not labels.
const (
	keyName    = "name"
	keyType    = "type"
	keyVersion = "version"
	keySeen    = "seen"
	keyDrained = "drained"
)

var (
	attributes = []string{keyName, keyType, keyVersion, keySeen, keyDrained}
	labelKey   = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,%d}$`, MaxLabelKey-1))
)

// IsLabelKey reports whether key has 1-63 ASCII letters, digits, '.', '_', '/' and
// '-' and starts with a letter or digit. It may be the name of an attribute: a
// label of that name can be given, but not selected.
func IsLabelKey(key string) bool { return labelKey.MatchString(key) }

// ValidLabelKey returns nil for a label's key that is not the name of an attribute,
// and otherwise an error that says what is allowed.
func ValidLabelKey(key string) error {
	if err := WellFormedLabelKey(key); err != nil {
		return err
	}
	if slices.Contains(attributes, key) {
		return fmt.Errorf("invalid label key %q: reserved name: choose another", key)
	}
	return nil
}

// WellFormedLabelKey returns nil for what [IsLabelKey] allows, and otherwise an error that
// says what is allowed.
func WellFormedLabelKey(key string) error {
	if !IsLabelKey(key) {
		return fmt.Errorf("invalid label key %q: must be 1-%d letters, digits, '.', '_', '/' or '-', and start with a letter or digit",
			text.Shorten(key, MaxLabelKey), MaxLabelKey)
	}
	return nil
}

// ValidLabelValue returns nil for up to 255 bytes of printable UTF-8, also none,
// and otherwise an error that says what is allowed. The plain space is the only
// printable one.
func ValidLabelValue(value string) error {
	if len(value) > MaxLabelValue || !utf8.ValidString(value) || strings.ContainsFunc(value, notPrintable) {
		return fmt.Errorf("invalid label value %q: must be at most %d bytes of printable UTF-8",
			text.Shorten(value, MaxLabelKey), MaxLabelValue)
	}
	return nil
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }
