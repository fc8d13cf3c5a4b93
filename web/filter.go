package web

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/taskerhq/tasker"
)

// How often a word may be in a filter.
const (
	once    = iota
	several // or with several values and commas between them, one of which must match
	all     // and all must match
)

// filterKeys are the parameters of the API's search by the words of a filter.
var filterKeys = map[string]struct {
	name  string
	often int
}{
	"type":     {"task_type", several},
	"status":   {"status", several},
	"endpoint": {"endpoint", once},
	"id":       {"identifier", once},
	"label":    {"label", all},
	"since":    {"since", once},
	"text":     {"text", once},
}

// parseFilter turns a filter, such as
//
//	type:worker status:FAILED,INCOMPLETE endpoint:web07 label:ticket=CHG-7 since:2h text:"no space" upd-
//
// into the parameters of a search. A word without a key is the beginning of an
// identifier. The API checks the values.
func parseFilter(filter string) (url.Values, error) {
	query := url.Values{}
	for rest := strings.TrimSpace(filter); rest != ""; rest = strings.TrimLeftFunc(rest, unicode.IsSpace) {
		var key, val string
		var err error
		if key, val, rest, err = nextTerm(rest); err != nil {
			return nil, err
		}
		known, ok := filterKeys[key]
		switch {
		case !ok:
			return nil, tasker.Errorf(tasker.Invalid,
				"unknown filter %q: use type, status, endpoint, label, id, since, text, or the beginning of an identifier", key)
		case val == "":
			return nil, tasker.Errorf(tasker.Invalid, "missing value of %s: write it behind the colon, such as %s:...", key, key)
		case known.often == once && query.Has(known.name):
			return nil, tasker.Errorf(tasker.Invalid, "duplicate filter %q: give it once", key)
		}
		if key == "status" {
			val = strings.ToUpper(val)
		}
		if known.often != several {
			query.Add(known.name, val)
			continue
		}
		for one := range strings.SplitSeq(val, ",") {
			query.Add(known.name, one)
		}
	}
	return query, nil
}

// nextTerm cuts the first term from a filter, which does not begin with a blank.
func nextTerm(filter string) (key, val, rest string, err error) {
	end := strings.IndexFunc(filter, func(r rune) bool { return unicode.IsSpace(r) || r == ':' || r == '"' })
	if end < 0 {
		return "id", filter, "", nil
	}
	key, rest = filter[:end], filter[end:]
	if rest[0] != ':' {
		if rest[0] == '"' {
			return "", "", "", tasker.Errorf(tasker.Invalid, "unexpected quote: write text:\"...\" to search for words")
		}
		return "id", key, rest, nil
	}
	rest = rest[1:]
	if !strings.HasPrefix(rest, `"`) {
		if end = strings.IndexFunc(rest, unicode.IsSpace); end < 0 {
			end = len(rest)
		}
		return key, rest[:end], rest[end:], nil
	}
	val, rest, ok := strings.Cut(rest[1:], `"`)
	if !ok {
		return "", "", "", tasker.Errorf(tasker.Invalid, "missing quote at the end of %s", key)
	}
	return key, val, rest, nil
}
