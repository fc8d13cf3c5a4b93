package jsonx

import (
	"bytes"
	"encoding/json"
)

// Encode is [json.Marshal] that writes <, > and & as they are.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// MustEncode is [Encode] for values that always have a JSON form.
func MustEncode(v any) []byte {
	encoded, err := Encode(v)
	if err != nil {
		panic(err)
	}
	return encoded
}
