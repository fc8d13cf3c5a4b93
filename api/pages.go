package api

import (
	"net/http"
	"net/url"
	"strconv"
)

// The sizes of a page.
const (
	defaultPage = 50
	maxPage     = 200
)

// pageLimit returns the number of entries that a page may have.
func pageLimit(query url.Values, errs *inputErrors) int {
	return int(intParam(query, "limit", defaultPage, 1, maxPage, errs))
}

// idCursor returns the cursor of a list that is sorted by id; 0 if there is none.
func idCursor(query url.Values, errs *inputErrors) int64 {
	if !query.Has("cursor") {
		return 0
	}
	id, ok := rowID(query.Get("cursor"))
	if !ok {
		errs.add("?cursor", invalidCursor)
	}
	return id
}

const invalidCursor = `invalid cursor: use the value of "next"`

// nextPage sets the Link header to the next page, and returns its cursor.
func nextPage(w http.ResponseWriter, r *http.Request, cursor string) *string {
	query := r.URL.Query()
	query.Set("cursor", cursor)
	next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	return &cursor
}

// rowID parses the id of a row as this API writes it.
func rowID(text string) (id int64, ok bool) {
	id, err := strconv.ParseInt(text, 10, 64)
	return id, err == nil && id > 0 && strconv.FormatInt(id, 10) == text
}

// intParam returns an integer query parameter, or its default if it is absent.
func intParam(query url.Values, name string, value, from, to int64, errs *inputErrors) int64 {
	if !query.Has(name) {
		return value
	}
	n, err := strconv.ParseInt(query.Get(name), 10, 64)
	if err != nil || n < from || n > to {
		errs.add("?"+name, "invalid %s: must be an integer from %d to %d", name, from, to)
		return value
	}
	return n
}

// boolParam returns a boolean query parameter, false if it is absent.
func boolParam(query url.Values, name string, errs *inputErrors) bool {
	value := query.Get(name)
	if query.Has(name) && value != "true" && value != "false" {
		errs.add("?"+name, "invalid %s: must be true or false", name)
	}
	return value == "true"
}
