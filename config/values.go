package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers"
	xtext "github.com/taskerhq/tasker/internal/x/text"
)

// setter puts a value, as YAML or the environment has it, into a T. Its error
// continues the sentence that begins with the key, such as
// "is 70000: give a number from 0 to 65535".
type setter[T any] func(t *T, value any) error

func text[T any](at func(*T) *string) setter[T] {
	return func(t *T, value any) error {
		s, ok := value.(string)
		if !ok {
			return fmt.Errorf("takes text, not %s: put it in quotes", kindOf(value))
		}
		*at(t) = s
		return nil
	}
}

func boolean[T any](at func(*T) *bool) setter[T] {
	return func(t *T, value any) error {
		b, ok := value.(bool)
		if s, isText := value.(string); isText {
			ok = s == "true" || s == "false"
			b = s == "true"
		}
		if !ok {
			return fmt.Errorf("is %s: give true or false", quote(value))
		}
		*at(t) = b
		return nil
	}
}

func number[T any, N int | int64](at func(*T) *N, least, most N) setter[T] {
	return func(t *T, value any) error {
		if err := plainNumber(value); err != nil {
			return err
		}
		n, ok := wholeNumber(value)
		if !ok || n < int64(least) || n > int64(most) {
			return fmt.Errorf("is %s: give a whole number from %d to %d", quote(value), least, most)
		}
		*at(t) = N(n)
		return nil
	}
}

// size reads a number of bytes, or text with a unit such as "64KiB".
func size[T any](at func(*T) *int64, least, most int64) setter[T] {
	return func(t *T, value any) error {
		if err := plainNumber(value); err != nil {
			return err
		}
		var v handlers.Size
		text, err := json.Marshal(value) // a literal as text, which is read the same
		if err != nil || json.Unmarshal(text, &v) != nil || int64(v) < least || int64(v) > most {
			return fmt.Errorf("is %s: give bytes, from %d to %d, or text such as 64KiB", quote(value), least, most)
		}
		*at(t) = int64(v)
		return nil
	}
}

func duration[T any](at func(*T) *time.Duration, least, most time.Duration) setter[T] {
	return func(t *T, value any) error {
		if err := plainNumber(value); err != nil {
			return err
		}
		v, ok := parseDuration(value)
		if !ok {
			return fmt.Errorf("is %s: give seconds, or a duration such as 1m30s", quote(value))
		}
		if v < least || v > most {
			return fmt.Errorf("is %s: give a duration from %s to %s", quote(value), short(least), short(most))
		}
		*at(t) = v
		return nil
	}
}

// retention reads how long something is kept, or "forever", which is stored as
// the given value.
func retention[T any](at func(*T) *time.Duration, always time.Duration) setter[T] {
	return func(t *T, value any) error {
		if value == forever {
			*at(t) = always
			return nil
		}
		if err := duration(at, minRetention, maxDuration)(t, value); err != nil {
			return fmt.Errorf("%w, or %s", err, forever)
		}
		return nil
	}
}

func oneOf[T any](at func(*T) *string, words ...string) setter[T] {
	return func(t *T, value any) error {
		for _, word := range words {
			if value == word {
				*at(t) = word
				return nil
			}
		}
		return fmt.Errorf("is %s: give one of %s", quote(value), strings.Join(words, ", "))
	}
}

var errNotURIs = errors.New("takes a URI or a list of URIs")

// brokerURIs reads one URI, a list of them, or, as the environment has it,
// several in one string, with commas or blanks between.
func brokerURIs(d *draft, value any) error {
	var uris []string
	switch v := value.(type) {
	case string:
		uris = splitURIs(v)
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return errNotURIs
			}
			uris = append(uris, s)
		}
	default:
		return errNotURIs
	}
	d.Rabbit.URIs = uris
	return nil
}

// splitURIs splits at commas and blanks before an amqp scheme only, since a
// password may hold them.
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

// plainNumber refuses a number that can be read in two ways.
func plainNumber(value any) error {
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
	case int: // a default
		return int64(v), true
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
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			return seconds(n)
		}
		d, err := time.ParseDuration(v)
		return d, err == nil
	}
	return 0, false
}

func seconds(n float64) (time.Duration, bool) {
	ns := n * float64(time.Second)
	if math.IsNaN(ns) || math.Abs(ns) > math.MaxInt64/2 {
		return 0, false
	}
	return time.Duration(ns), true
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
