package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/clock"
	xtext "github.com/taskerhq/tasker/internal/x/text"
)

// codec reads, shows and describes one value of the configuration.
type codec struct {
	// set stores a value as YAML or the environment has it. Its error says what
	// the value must be, such as "must be 0-65535, got 70000".
	set func(value any) error
	// get returns the stored value as a file would have it.
	get func() any
	// raw says that set takes a *yaml.Node.
	raw bool
	// takes says which values are valid, for the documentation.
	takes string
	// mask returns what may be printed of a value; nil prints all of it.
	mask func(value any) any
}

func text(at *string) codec {
	return codec{
		set: func(value any) error {
			s, ok := value.(string)
			if !ok {
				return fmt.Errorf("must be text, got %s: put it in quotes", kindOf(value))
			}
			*at = s
			return nil
		},
		get: func() any { return *at },
	}
}

// masked returns c with a mask.
func (c codec) masked(mask func(any) any) codec {
	c.mask = mask
	return c
}

func boolean(at *bool) codec {
	return codec{
		set: func(value any) error {
			b, ok := value.(bool)
			if s, isText := value.(string); isText {
				ok = s == "true" || s == "false"
				b = s == "true"
			}
			if !ok {
				return fmt.Errorf("must be true or false, got %s", quote(value))
			}
			*at = b
			return nil
		},
		get: func() any { return *at },
	}
}

func number[N int | int64](at *N, least, most N) codec {
	return codec{
		set: func(value any) error {
			if err := unambiguous(value); err != nil {
				return err
			}
			n, ok := wholeNumber(value)
			if !ok || n < int64(least) || n > int64(most) {
				return fmt.Errorf("must be a whole number %d-%d, got %s", least, most, quote(value))
			}
			*at = N(n)
			return nil
		},
		get:   func() any { return int64(*at) },
		takes: fmt.Sprintf("%d-%d", least, most),
	}
}

// size reads a number of bytes, or text with a unit such as "64KiB".
func size(at *int64, least, most int64) codec {
	return codec{
		set: func(value any) error {
			if err := unambiguous(value); err != nil {
				return err
			}
			var v handlers.Size
			text, err := json.Marshal(value) // a literal as text, which is read the same
			if err != nil || json.Unmarshal(text, &v) != nil || int64(v) < least || int64(v) > most {
				return fmt.Errorf("must be %d-%d bytes, such as 65536 or 64KiB, got %s", least, most, quote(value))
			}
			*at = int64(v)
			return nil
		},
		get:   func() any { return *at },
		takes: fmt.Sprintf("%d-%d bytes", least, most),
	}
}

func duration(at *time.Duration, least, most time.Duration) codec {
	return codec{
		set: func(value any) error {
			if err := unambiguous(value); err != nil {
				return err
			}
			v, ok := parseDuration(value)
			if !ok {
				return fmt.Errorf("must be seconds, or a duration such as 1m30s, got %s", quote(value))
			}
			if v < least || v > most {
				return fmt.Errorf("must be %s-%s, got %s", short(least), short(most), quote(value))
			}
			*at = v
			return nil
		},
		get:   func() any { return short(*at) },
		takes: short(least) + "-" + short(most),
	}
}

// optional is a duration that is shown only if it is set.
func optional(at *time.Duration, least, most time.Duration) codec {
	c := duration(at, least, most)
	get := c.get
	c.get = func() any {
		if *at == 0 {
			return ""
		}
		return get()
	}
	return c
}

// retention reads how long something is kept, or "forever", which is stored as
// the given value.
func retention(at *time.Duration, always time.Duration) codec {
	c := duration(at, minRetention, maxDuration)
	return codec{
		set: func(value any) error {
			if value == forever {
				*at = always
				return nil
			}
			if err := c.set(value); err != nil {
				return fmt.Errorf("must be %s, or %s", forever, strings.TrimPrefix(err.Error(), "must be "))
			}
			return nil
		},
		get: func() any {
			if *at == always {
				return forever
			}
			return c.get()
		},
		takes: c.takes + ", or `" + forever + "`",
	}
}

func oneOf(at *string, words ...string) codec {
	return codec{
		set: func(value any) error {
			word, ok := value.(string)
			if !ok || !slices.Contains(words, word) {
				return fmt.Errorf("must be one of %s, got %s", strings.Join(words, ", "), quote(value))
			}
			*at = word
			return nil
		},
		get:   func() any { return *at },
		takes: "`" + strings.Join(words, "`, `") + "`",
	}
}

func level(at *slog.Level) codec {
	var word string
	c := oneOf(&word, "debug", "info", "warn", "error")
	return codec{
		set: func(value any) error {
			if err := c.set(value); err != nil {
				return err
			}
			return at.UnmarshalText([]byte(word))
		},
		get:   func() any { return strings.ToLower(at.String()) },
		takes: c.takes,
	}
}

// uris reads one URI, a list of them, or, as the environment has it, several in
// one string, with commas or blanks between.
func uris(at *[]string) codec {
	return texts(at, splitURIs, "must be a URI or a list of URIs")
}

// texts reads one text, a list of them, or several in one text that split splits.
// wrong is what is said of anything else.
func texts(at *[]string, split func(string) []string, wrong string) codec {
	return codec{
		set: func(value any) error {
			var list []string
			switch v := value.(type) {
			case string:
				list = split(v)
			case []any:
				for _, item := range v {
					s, ok := item.(string)
					if !ok {
						return errors.New(wrong)
					}
					list = append(list, s)
				}
			default:
				return errors.New(wrong)
			}
			*at = list
			return nil
		},
		get: func() any {
			switch len(*at) {
			case 0:
				return ""
			case 1:
				return (*at)[0]
			}
			return slices.Clone(*at)
		},
	}
}

// splitURIs splits at commas and blanks before an amqp scheme only, since a
// password may contain them.
func splitURIs(s string) []string {
	var uris []string
	start := 0
	for i := range s {
		rest := s[i:]
		begins := strings.HasPrefix(rest, "amqp://") || strings.HasPrefix(rest, "amqps://")
		if begins && i > start && strings.ContainsRune(", \t\n", rune(s[i-1])) {
			uris = append(uris, strings.TrimRight(s[start:i], ", \t\n"))
			start = i
		}
	}
	if last := strings.TrimSpace(s[start:]); last != "" {
		uris = append(uris, last)
	}
	return uris
}

// unambiguous refuses a number that can be read in two ways.
func unambiguous(value any) error {
	text, ok := value.(string)
	if number, is := value.(literal); is {
		text, ok = string(number), true
	}
	if ok && leadingZero.MatchString(text) {
		return errLeadingZero(text)
	}
	return nil
}

func wholeNumber(value any) (int64, bool) {
	switch v := value.(type) {
	case int64: // a default
		return v, true
	case literal:
		return wholeNumber(string(v))
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// parseDuration reads a number of seconds, a string with one, or a duration
// such as "1m30s".
func parseDuration(value any) (time.Duration, bool) {
	switch v := value.(type) {
	case literal:
		return parseDuration(string(v))
	case string:
		return clock.Parse(v)
	}
	return 0, false
}

// short writes a duration without the zeros of [time.Duration.String]: 1m
// instead of 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote shows a wrong value, briefly.
func quote(value any) string {
	switch v := value.(type) {
	case string:
		if _, err := strconv.ParseInt(v, 10, 64); err == nil {
			return v
		}
		return strconv.Quote(xtext.Shorten(v, 80))
	case literal, bool:
		return fmt.Sprint(v)
	}
	return kindOf(value)
}

func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "text"
	case literal:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	}
	return "a mapping"
}
