package run

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/internal/x/jsonx"
	"github.com/taskerhq/tasker/internal/x/text"
)

// resultFrame is the room, within max_output, for what surrounds a text.
const resultFrame = 128

// partialOutput is the result of output that is cut off or is not text.
type partialOutput struct {
	Stdout    *string `json:"stdout,omitempty"`
	Base64    *string `json:"stdout_base64,omitempty"`
	Truncated bool    `json:"truncated,omitempty"`
	Size      int64   `json:"size,omitempty"` // of all output, in bytes
}

// result makes a result of the standard output, of at most max_output bytes.
//
//   - JSON is the result as it is; empty output is no result.
//   - Text is a JSON string, without its last line end.
//   - Output with a NUL, or that is not UTF-8, is {"stdout_base64": "..."}.
//   - Output that is too long is {"stdout": "...", "truncated": true, "size":
//     123456}, with the size of all of it and as much as there is room for.
func (s *Settings) result(stdout *proc.Head) (handlers.Result, error) {
	whole := !stdout.Truncated()
	if s.Result == resultNone {
		return nil, nil
	}
	if s.Result != resultText && whole {
		value := bytes.TrimSpace(stdout.Kept)
		if len(value) == 0 && s.Result == resultAuto {
			return nil, nil
		}
		if json.Valid(value) && utf8.Valid(value) {
			return value, nil
		}
	}
	result := asText(stdout, int(s.MaxOutput))
	switch {
	case s.Result != resultJSON:
		return result, nil
	case whole:
		return result, handlers.Permanent(errors.New("the program succeeded, but its standard output is not JSON"))
	}
	return result, handlers.Permanent(fmt.Errorf(
		"the program succeeded, but its standard output has %d bytes, more than max_output (%d)", stdout.Size, s.MaxOutput))
}

func asText(stdout *proc.Head, limit int) handlers.Result {
	kept, whole := stdout.Kept, !stdout.Truncated()
	if !whole {
		kept = text.WholeRunes(kept)
	}
	if utf8.Valid(kept) && !bytes.Contains(kept, []byte{0}) {
		if whole {
			line := bytes.TrimSuffix(bytes.TrimSuffix(kept, []byte("\n")), []byte("\r"))
			if encoded := jsonx.MustEncode(string(line)); len(encoded) <= limit {
				return encoded
			}
		}
		// Some characters take six bytes in JSON: cut until it fits.
		for {
			part := string(kept)
			result := jsonx.MustEncode(partialOutput{Stdout: &part, Truncated: true, Size: stdout.Size})
			if len(result) <= limit {
				return result
			}
			kept = text.WholeRunes(kept[:min(len(kept)*limit/len(result), len(kept)-1)])
		}
	}
	room := base64.StdEncoding.DecodedLen(limit-resultFrame) / 3 * 3
	if whole = whole && len(stdout.Kept) <= room; whole {
		all := base64.StdEncoding.EncodeToString(stdout.Kept)
		return jsonx.MustEncode(partialOutput{Base64: &all})
	}
	part := base64.StdEncoding.EncodeToString(stdout.Kept[:min(room, len(stdout.Kept))])
	return jsonx.MustEncode(partialOutput{Base64: &part, Truncated: true, Size: stdout.Size})
}
