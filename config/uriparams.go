package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parameter checks the value of a URI's query parameter. It returns what the
// value must be, or nothing if the value is valid.
type parameter func(value string) (must string)

// databaseParameters are those of mysql:// addresses; sqlite:// has none.
var databaseParameters = map[string]parameter{
	"tls": oneWord("true", "false", "skip-verify", "preferred"),
}

// brokerParameters are those of amqp:// addresses. The others of amqp091-go have
// a key of their own, or are not supported.
var brokerParameters = map[string]parameter{
	"auth_mechanism":         oneWord("PLAIN", "AMQPLAIN", "EXTERNAL"),
	"cacertfile":             anyText,
	"certfile":               anyText,
	"channel_max":            upTo(65535),
	"connection_timeout":     upTo(3600 * 1000),
	"keyfile":                anyText,
	"server_name_indication": anyText,
}

func oneWord(words ...string) parameter {
	return func(value string) string {
		if slices.Contains(words, value) {
			return ""
		}
		return "one of " + strings.Join(words, ", ")
	}
}

func anyText(value string) string {
	if value == "" {
		return "text"
	}
	return ""
}

func upTo(most int) parameter {
	return func(value string) string {
		if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= most {
			return ""
		}
		return fmt.Sprintf("a whole number 0-%d", most)
	}
}

// checkParameters refuses unknown parameters, and values that would fail when
// the connection is made. The errors contain no value, which may be a secret.
func checkParameters(u *url.URL, known map[string]parameter) error {
	given, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("malformed parameters: write them as ?name=value")
	}
	first, _, named := strings.Cut(u.RawQuery, "=")
	for _, name := range slices.Sorted(maps.Keys(given)) {
		check, ok := known[name]
		shown := ""
		if named && name == first { // any other may be part of a value, which is secret
			shown = fmt.Sprintf(" %q", clip(name))
		}
		switch {
		case !ok && len(known) == 0:
			return fmt.Errorf("unknown parameter%s: must have none", shown)
		case !ok:
			return fmt.Errorf("unknown parameter%s: must be one of %s", shown, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case len(given[name]) > 1:
			return fmt.Errorf("duplicate parameter %q", name)
		}
		if must := check(given[name][0]); must != "" {
			return fmt.Errorf("invalid parameter %q: must be %s", name, must)
		}
	}
	return nil
}
