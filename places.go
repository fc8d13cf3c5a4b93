package tasker

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MaxPlaces bounds the places of a task.
const MaxPlaces = 1000

// Places is how many endpoints perform a task that is not for all of its endpoints, but
// for those which take it first: each of them has one place. Zero means that the task is
// for all. In JSON one place is "any", and several are an object such as {"any": 3}.
type Places int

// Valid reports whether there are 1 to [MaxPlaces] places.
func (p Places) Valid() bool { return p >= 1 && p <= MaxPlaces }

// MarshalJSON encodes one place as "any".
func (p Places) MarshalJSON() ([]byte, error) {
	if p == 1 {
		return []byte(`"any"`), nil
	}
	return fmt.Appendf(nil, `{"any":%d}`, int(p)), nil
}

// UnmarshalJSON decodes "any", or an object with the member any and no other.
func (p *Places) UnmarshalJSON(data []byte) error {
	var word string
	if json.Unmarshal(data, &word) == nil && word == "any" {
		*p = 1
		return nil
	}
	var object struct {
		Any *int `json:"any"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&object); err != nil || object.Any == nil || !Places(*object.Any).Valid() {
		return Errorf(Invalid, `invalid deliver: must be "any", or {"any": N} with N from 1 to %d`, MaxPlaces)
	}
	*p = Places(*object.Any)
	return nil
}
