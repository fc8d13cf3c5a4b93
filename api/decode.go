package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/bodies"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/retrypolicy"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// maxDepth bounds the nesting of a payload: what reads it next, here and on the
// endpoints, may be recursive.
const maxDepth = tasker.MaxDepth

// maxEndpoints bounds the endpoints that one task lists.
const maxEndpoints = choice.MaxEndpoints

// The fields of the body of a POST, and of the task of a schedule, which decides the others.
const (
	knownFields     = "identifier, " + aimFields + ", plan, start_time, in, " + termFields + ", signature"
	scheduledFields = "type, " + aimFields + ", " + termFields

	aimFields  = "payload, endpoints, select, all, limit, seed, deliver, expect"
	termFields = "expires, retry, priority, topic, on_conflict, rollout, labels"
)

// taskRequest is the body of a POST, decoded and valid.
type taskRequest struct {
	identifier string          // empty if absent
	payload    json.RawMessage // byte for byte as sent; null if absent
	endpoints  []string        // sorted, unique; nil if absent
	where      where
	when       when
	retry      *tasker.RetryPolicy // nil if absent
	rollout    json.RawMessage     // its settings in their canonical form; nil if absent
	priority   *int                // nil if absent
	topic      topic
	labels     map[string]string // nil if absent
	deliver    tasker.Places     // 0 if absent
	signature  *tasker.Signature // nil if absent
}

// readBody reads the body of a request that must be JSON of at most limit bytes.
// release frees its memory.
func readBody(r *http.Request, pool *bodies.Pool, limit int64) (body []byte, release func(), err error) {
	release = func() {}
	if err := checkContentType(r.Header); err != nil {
		return nil, release, err
	}
	if r.ContentLength > limit {
		return nil, release, bodies.TooLarge(limit)
	}
	body, release, err = pool.Read(io.LimitReader(r.Body, limit+1))
	switch {
	case tasker.CodeOf(err) == tasker.Overloaded:
		return nil, release, err
	case err != nil:
		return nil, release, tasker.WrapError(tasker.Malformed, err, "read body failed")
	case int64(len(body)) > limit:
		return nil, release, bodies.TooLarge(limit)
	}
	return body, release, nil
}

// checkContentType accepts application/json in UTF-8, uncompressed.
func checkContentType(h http.Header) error {
	const want = "send the header \"Content-Type: application/json\""
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return tasker.Errorf(tasker.UnsupportedType, "invalid content type: got %d headers; %s", len(values), want)
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err != nil || mediaType != "application/json" {
		return tasker.Errorf(tasker.UnsupportedType, "unsupported content type %q: %s", clip(values[0], 100), want)
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return tasker.Errorf(tasker.UnsupportedType, "unsupported content type parameter %q: JSON is UTF-8", clip(name+"="+value, 100))
		}
	}
	for _, encoding := range h.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(encoding), "identity") {
			return tasker.Errorf(tasker.UnsupportedType, "unsupported content encoding %q: send the body uncompressed", clip(encoding, 100))
		}
	}
	return nil
}

// maxPointer bounds a pointer into a payload in a message, in bytes.
const maxPointer = 300

// decodeTask decodes the body of a POST strictly: unknown fields are errors. A body
// that is not JSON is [tasker.Malformed]; otherwise all broken rules are reported
// together as [tasker.Invalid].
func decodeTask(body []byte) (taskRequest, error) {
	in := taskRequest{payload: json.RawMessage("null")}
	var errs inputErrors
	err := eachMember(body, knownFields, &errs, func(key string, value json.RawMessage) {
		switch key {
		case "identifier":
			in.identifier = decodeIdentifier(value, &errs)
		case "payload":
			if jsonx.Depth(value) > maxDepth {
				errs.add("/payload", "payload nested too deeply: the limit is %d levels", maxDepth)
			} else if at, found := jsonx.Duplicate(value); found {
				field := clip("/payload"+at, maxPointer)
				errs.add(field, "duplicate member %q: parsers would disagree on its value", field)
			}
			in.payload = value
		case "endpoints":
			in.endpoints = decodeEndpoints(value, &errs)
		case "retry":
			in.retry = decodePolicy(value, &errs)
		case "rollout":
			in.rollout = decodeRollout(value, &errs)
		case "priority":
			in.priority = decodePriority(value, &errs)
		case "labels":
			in.labels = decodeLabels(value, &errs)
		case "deliver":
			in.deliver = decodeDeliver(value, &errs)
		case "signature":
			in.signature = decodeSignature(value, &errs)
		default:
			if !in.where.decode(key, value, &errs) && !in.when.decode(key, value, &errs) && !in.topic.decode(key, value, &errs) {
				errs.add(pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), knownFields)
			}
		}
	})
	if err != nil {
		return taskRequest{}, err
	}
	in.where.check(in.endpoints != nil, &errs)
	in.when.check(&errs)
	in.topic.check(&errs)
	in.checkDeliver(&errs)
	in.checkSigned(&errs)
	if err := errs.err(); err != nil {
		return taskRequest{}, err
	}
	return in, nil
}

// decodeDeliver decodes how many endpoints perform a task. null means absent.
func decodeDeliver(value json.RawMessage, errs *inputErrors) (places tasker.Places) {
	if kindOfJSON(value) == "null" {
		return 0
	}
	if _, duplicate := jsonx.Duplicate(value); duplicate || json.Unmarshal(value, &places) != nil {
		errs.add("/deliver", `invalid deliver: must be "any", or an object such as {"any": 3} with a number from 1 to %d`, tasker.MaxPlaces)
	}
	return places
}

// checkDeliver adds what cannot be combined with places.
func (in *taskRequest) checkDeliver(errs *inputErrors) {
	if in.deliver == 0 {
		return
	}
	if in.rollout != nil {
		errs.add("/deliver", "deliver and rollout cannot be combined: a rollout is for all of its endpoints: omit one of them")
	}
	if in.where.limit != "" {
		errs.add("/deliver", "deliver and limit cannot be combined: with limit the API chooses the endpoints, and with deliver "+
			"those which take the task first: omit one of them")
	}
	if n := len(in.endpoints); n > 0 && int(in.deliver) > n {
		errs.add("/deliver", "too many places: %d, and the task lists %d endpoints", in.deliver, n)
	}
}

// decodePriority decodes a priority. null means absent.
func decodePriority(value json.RawMessage, errs *inputErrors) *int {
	if kindOfJSON(value) == "null" {
		return nil
	}
	var priority int
	if json.Unmarshal(value, &priority) != nil || tasker.ValidatePriority(priority) != nil {
		errs.add("/priority", "invalid priority: must be a whole number 0-%d, and %[1]d comes first", tasker.MaxPriority)
		return nil
	}
	return &priority
}

// decodePolicy decodes a retry policy. null means absent.
func decodePolicy(value json.RawMessage, errs *inputErrors) *tasker.RetryPolicy {
	if kindOfJSON(value) == "null" {
		return nil
	}
	policy, err := retrypolicy.Decode(value)
	if err == nil {
		return &policy
	}
	for _, one := range unjoined(err) {
		field := "/retry"
		if e, ok := errors.AsType[*tasker.Error](one); ok {
			field += e.Field
		}
		errs.add(clip(field, maxPointer), "%v", one)
	}
	return nil
}

// unjoined returns the errors that were joined.
func unjoined(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // it is not wrapped
		return joined.Unwrap()
	}
	return []error{err}
}

// eachMember calls decode with each member of a JSON object. A body that is none is
// an error that names the fields; a duplicate is added to errs.
func eachMember(body []byte, fields string, errs *inputErrors, decode func(key string, value json.RawMessage)) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	if kind := kindOfJSON(body); kind != "an object" {
		return tasker.Errorf(tasker.Invalid, "invalid body: must be a JSON object with the fields %s, not %s", fields, kind)
	}
	seen := make(map[string]bool)
	dec := json.NewDecoder(bytes.NewReader(body))
	_, _ = dec.Token() // the opening brace: checked above
	for dec.More() {
		var value json.RawMessage
		name, err := dec.Token()
		if err == nil {
			err = dec.Decode(&value)
		}
		key, ok := name.(string)
		if err != nil || !ok {
			return fmt.Errorf("decode valid JSON: %w", err)
		}
		if seen[key] {
			errs.add(pointer(key), "duplicate field %q", clip(key, tasker.MaxName))
			continue
		}
		seen[key] = true
		decode(key, value)
	}
	return nil
}

// checkJSON returns an error unless the body is exactly one JSON value in UTF-8.
// Bytes are counted from 1.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return tasker.Errorf(tasker.Malformed, `empty body: send a JSON object such as {"identifier":"a1","payload":{}}`)
	}
	if !utf8.Valid(body) {
		at := 0
		for at < len(body) {
			r, size := utf8.DecodeRune(body[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return tasker.Errorf(tasker.Malformed, "invalid body: not UTF-8 at byte %d", at+1)
	}
	if json.Valid(body) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	var first json.RawMessage
	if dec.Decode(&first) == nil {
		return tasker.Errorf(tasker.Malformed, "invalid body: trailing data after the JSON value, which ends at byte %d", dec.InputOffset())
	}
	err := json.Unmarshal(body, &first)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return tasker.Errorf(tasker.Malformed, "invalid body: not JSON: %v (byte %d)", syntax, syntax.Offset)
	}
	return tasker.Errorf(tasker.Malformed, "invalid body: not JSON")
}

// decodeIdentifier returns the identifier. null means absent.
func decodeIdentifier(value json.RawMessage, errs *inputErrors) string {
	if kindOfJSON(value) == "null" {
		return ""
	}
	identifier, ok := stringOf(value)
	if !ok {
		errs.add("/identifier", "invalid identifier: must be a string, not %s", kindOfJSON(value))
		return ""
	}
	if err := tasker.ValidateIdentifier(identifier); err != nil {
		errs.add("/identifier", "%v", err)
	}
	return identifier
}

// decodeEndpoints returns the list, sorted. null and an empty list mean absent.
func decodeEndpoints(value json.RawMessage, errs *inputErrors) []string {
	switch kind := kindOfJSON(value); kind {
	case "null":
		return nil
	case "an array":
	default:
		errs.add("/endpoints", "invalid endpoints: must be an array of names, not %s", kind)
		return nil
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(value, &elements); err != nil {
		errs.add("/endpoints", "invalid endpoints: must be an array of names")
		return nil
	}
	if len(elements) == 0 {
		return nil
	}
	if len(elements) > maxEndpoints {
		errs.add("/endpoints",
			"too many endpoints: %d, the limit is %d; omit the list to address every endpoint of the task type, or create several tasks",
			len(elements), maxEndpoints)
		return nil
	}
	names := make([]string, 0, len(elements))
	first := make(map[string]int, len(elements))
	for i, element := range elements {
		field := "/endpoints/" + strconv.Itoa(i)
		name, ok := stringOf(element)
		if !ok {
			errs.add(field, "invalid endpoint: must be a string, not %s", kindOfJSON(element))
			continue
		}
		if err := tasker.ValidateEndpoint(name); err != nil {
			errs.add(field, "%v", err)
			continue
		}
		if at, ok := first[name]; ok {
			errs.add(field, "duplicate endpoint %q: also at /endpoints/%d", name, at)
			continue
		}
		first[name] = i
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func stringOf(value json.RawMessage) (string, bool) {
	var s string
	if kindOfJSON(value) != "a string" || json.Unmarshal(value, &s) != nil {
		return "", false
	}
	return s, true
}

// kindOfJSON returns the kind of a valid JSON value, for messages.
func kindOfJSON(value []byte) string {
	switch value = bytes.TrimLeft(value, " \t\r\n"); value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// pointer returns the JSON pointer (RFC 6901) of a top-level member.
func pointer(name string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(name, tasker.MaxName))
}
