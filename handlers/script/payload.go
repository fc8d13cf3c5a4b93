package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers/internal/payload"
	"github.com/taskerhq/tasker/internal/x/text"
)

// maxShown bounds what an error shows of a value, in bytes.
const maxShown = 100

type request struct {
	BinName    string    `json:"bin_name"`
	Args       arguments `json:"args"`
	MaxRunTime *float64  `json:"max_run_time"`

	limit time.Duration // 0 for none
}

// arguments are a text with white space between them, or a list of strings,
// numbers and booleans.
type arguments []string

// UnmarshalJSON reads either form.
func (a *arguments) UnmarshalJSON(raw []byte) error {
	var line string
	if json.Unmarshal(raw, &line) == nil {
		*a = strings.Fields(line)
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return errors.New(`"args" must be a string or a list`)
	}
	*a = make([]string, len(items))
	for i, item := range items {
		switch {
		case item[0] == '"':
			if err := json.Unmarshal(item, &(*a)[i]); err != nil {
				return err
			}
		case item[0] == '{' || item[0] == '[' || string(item) == "null":
			return fmt.Errorf(`"args" must contain strings and numbers, got %s`, text.Shorten(string(item), maxShown))
		default:
			(*a)[i] = string(item)
		}
	}
	return nil
}

func readPayload(raw json.RawMessage) (r request, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err = dec.Decode(&r); err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("data after the object")
		}
	}
	if err != nil {
		return r, fmt.Errorf(`invalid payload: must be an object such as {"bin_name": "report", "args": "12 hello"}: %w`, err)
	}
	if r.BinName == "" {
		return r, errors.New(`missing "bin_name": the name of a program`)
	}
	for _, arg := range r.Args {
		if strings.ContainsRune(arg, 0) {
			return r, errors.New(`"args" contains NUL, which an argument cannot`)
		}
	}
	if r.MaxRunTime != nil {
		r.limit, err = payload.MaxRunTime(*r.MaxRunTime)
	}
	return r, err
}
