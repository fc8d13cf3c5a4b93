package handlers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/taskerhq/tasker/handlers/internal/proc"
)

const (
	// resultFrame is the room, within max_output, for what is around a text.
	resultFrame  = 128
	minMaxOutput = 1 << 10
)

// rest tells of output that is not in the result as it is.
type rest struct {
	Stdout    *string `json:"stdout,omitempty"`
	Base64    *string `json:"stdout_base64,omitempty"`
	Truncated bool    `json:"truncated,omitempty"`
	Size      int64   `json:"size,omitempty"` // of all output, in bytes
}

// result makes a result of the standard output, of at most max_output bytes.
//
//   - JSON is the result as it is, and nothing is no result.
//   - Text is a JSON string, without one line end at its end.
//   - Output with a NUL, or that is not UTF-8, is {"stdout_base64": "..."}.
//   - Where it is too long, it is an object, {"stdout": "...", "truncated": true,
//     "size": 123456}, with the size of all of it and as much as there is room for.
func (s *processSettings) result(stdout *proc.Head) (Result, error) {
	whole := !stdout.Truncated()
	if s.Result == resultNone {
		return nil, nil
	}
	if s.Result != resultText && whole {
		text := bytes.TrimSpace(stdout.Kept)
		if len(text) == 0 && s.Result == resultAuto {
			return nil, nil
		}
		if json.Valid(text) && utf8.Valid(text) {
			return text, nil
		}
	}
	result := asText(stdout, int(s.MaxOutput))
	switch {
	case s.Result != resultJSON:
		return result, nil
	case whole:
		return result, Permanent(errors.New("the program ended well, but its standard output is not JSON"))
	}
	return result, Permanent(fmt.Errorf("the program ended well, but its standard output has %d bytes, and max_output is %d", stdout.Size, s.MaxOutput))
}

func asText(stdout *proc.Head, limit int) Result {
	kept, whole := stdout.Kept, !stdout.Truncated()
	if !whole {
		kept = wholeCharacters(kept)
	}
	if utf8.Valid(kept) && !bytes.Contains(kept, []byte{0}) {
		if whole {
			line := bytes.TrimSuffix(bytes.TrimSuffix(kept, []byte("\n")), []byte("\r"))
			if text := encode(string(line)); len(text) <= limit {
				return text
			}
		}
		// Some characters take six bytes in JSON: cut until it fits.
		for {
			text := string(kept)
			result := encode(rest{Stdout: &text, Truncated: true, Size: stdout.Size})
			if len(result) <= limit {
				return result
			}
			kept = wholeCharacters(kept[:min(len(kept)*limit/len(result), len(kept)-1)])
		}
	}
	room := base64.StdEncoding.DecodedLen(limit-resultFrame) / 3 * 3
	if whole = whole && len(stdout.Kept) <= room; whole {
		text := base64.StdEncoding.EncodeToString(stdout.Kept)
		return encode(rest{Base64: &text})
	}
	text := base64.StdEncoding.EncodeToString(stdout.Kept[:min(room, len(stdout.Kept))])
	return encode(rest{Base64: &text, Truncated: true, Size: stdout.Size})
}

// wholeCharacters cuts off a character that is cut at the end.
func wholeCharacters(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if last := b[len(b)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}
