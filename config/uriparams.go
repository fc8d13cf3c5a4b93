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

// parameter checks the value of a URI's query parameter, and returns what it
// takes, or nothing where the value is well.
type parameter func(value string) (takes string)

// databaseParameters are those of mysql:// addresses; sqlite:// has none.
var databaseParameters = map[string]parameter{
	"tls": oneWord("true", "false", "skip-verify", "preferred"),
}

// brokerParameters are those of amqp:// addresses. What amqp091-go knows beside
// them has a key of its own, or is none of tasker's.
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
		return "a text"
	}
	return ""
}

func upTo(most int) parameter {
	return func(value string) string {
		if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= most {
			return ""
		}
		return fmt.Sprintf("a whole number from 0 to %d", most)
	}
}

// checkParameters refuses parameters that nobody reads, and values that would
// fail when the connection is made. The errors hold no value: it may be a
// secret.
func checkParameters(u *url.URL, known map[string]parameter) error {
	given, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("has parameters that cannot be read: give them as ?name=value")
	}
	first, _, named := strings.Cut(u.RawQuery, "=")
	for _, name := range slices.Sorted(maps.Keys(given)) {
		check, ok := known[name]
		shown := ""
		if named && name == first { // any other may be a part of a value, which is a secret
			shown = " " + clip(name)
		}
		switch {
		case !ok && len(known) == 0:
			return fmt.Errorf("has a parameter%s, and takes none", shown)
		case !ok:
			return fmt.Errorf("has an unknown parameter%s: it takes %s", shown, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case len(given[name]) > 1:
			return fmt.Errorf("has the parameter %s twice", name)
		}
		if takes := check(given[name][0]); takes != "" {
			return fmt.Errorf("has the parameter %s with a value that cannot be used: give %s", name, takes)
		}
	}
	return nil
}
