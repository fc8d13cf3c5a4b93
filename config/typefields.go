package config

import (
	"errors"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker"
)

const (
	// minRetention leaves time to read a result, and for messages still under
	// way when the task ended.
	minRetention = time.Minute
	// forever is the retention that deletes nothing.
	forever = "forever"
)

// field is a key of an entry of task_types.
type field struct {
	name string
	doc  string // for docs/configuration.md and the example file
	codec
}

// fields is the table of an entry's keys, reading into t, in the order in
// which they are shown. An empty value is not shown.
//
// A new key is a row here and a field of [tasker.TaskType] with a default; go test
// ./config -run Docs -update documents it.
func (e *entryReader) fields(t *tasker.TaskType) []field {
	return []field{
		{"name", "of the type and its route, POST /<name>", text(&t.Name)},
		{"handler", "performs the tasks; by default the one with the type's name", text(&t.Handler)},
		{"description", "one sentence; by default the handler's", text(&t.Description)},
		{"usage", "for people who write payloads; by default the handler's", text(&t.Usage)},
		{"concurrency", "tasks that an endpoint runs at once", number(&t.Concurrency, 1, tasker.MaxConcurrency)},
		{"timeout", "limit of one attempt", duration(&t.Timeout, time.Millisecond, maxDuration)},
		{
			"retry", "pauses before further attempts, such as [60, 10m], or {attempts: 5, policy: exponential, interval: 10s}",
			retries(&t.Retry),
		},
		{"retention", "how long a task is kept after its end, or forever", retention(&t.Retention, tasker.Forever)},
		{
			"expires", "how long after its start a task expires, unless it says so itself; by default never",
			optional(&t.Expires, time.Second, maxDuration),
		},
		{"priority", "of a task that does not say its own: 9 comes first", number(&t.Priority, 0, tasker.MaxPriority)},
		{
			"approval", "other: waves of a rollout are approved by another principal than who created the task; by default by anybody " +
				"with the right",
			oneOf(&t.Approval, tasker.ApprovalOther),
		},
		{"max_payload", "bytes, such as 65536 or 64KiB; by default api.max_body", size(&t.MaxPayload, 1, giB)},
		{"schema", "JSON Schema of payloads, or the path of a file; by default the handler's", ofNode(
			func(node *yaml.Node) error { return e.readSchema(t, node) },
			func() any { return shownJSON(t.Schema) },
		)},
		{"example", "a valid payload to start from; by default the handler's", ofNode(
			func(node *yaml.Node) (err error) { t.Example, err = toJSON(node); return err },
			func() any { return shownJSON(t.Example) },
		)},
		{"labels", "labels that an endpoint needs, such as {role: web}", labels(&t.Labels)},
		{
			"signed_by", "whose signatures count where manager.verify is not off, such as [alice, bob at db*]; by default those of all " +
				"allowed signers",
			signedBy(&t.SignedBy),
		},
		{"settings", "the handler's own settings", ofNode(
			func(node *yaml.Node) error { return readSettings(t, node) },
			func() any { return maskSettings(t.Settings) },
		)},
	}
}

// ofNode is a codec that reads YAML itself.
func ofNode(read func(*yaml.Node) error, get func() any) codec {
	return codec{set: func(value any) error { return read(value.(*yaml.Node)) }, get: get, raw: true}
}

// readField reads the value of a key of an entry. Null sets nothing.
func readField(f field, node *yaml.Node) error {
	var value any
	if err := node.Decode(&value); err != nil { // finds aliases without an end
		return errors.New("cannot be read: " + yamlError(err))
	}
	if node = resolve(node); node.ShortTag() == "!!null" {
		return nil
	}
	if f.raw {
		return f.set(node)
	}
	value, err := plainValue(node)
	if err != nil {
		return err
	}
	return f.set(value)
}

func readSettings(t *tasker.TaskType, node *yaml.Node) error {
	value, err := settingValue(node)
	if err != nil {
		return err
	}
	settings, ok := value.(map[string]any)
	if !ok {
		return errors.New("must be a mapping of the handler's settings to values")
	}
	t.Settings = settings
	return nil
}

// shown returns what config show prints of the field, or nil.
func (f field) shown() any {
	value := f.get()
	if v := reflect.ValueOf(value); v.IsZero() || v.Kind() != reflect.String && v.Kind() != reflect.Int64 && v.Len() == 0 {
		return nil
	}
	return value
}
