package schema

import (
	"encoding/json"
	"slices"
	"strings"
)

// maxExample bounds how deep an example goes: schemas may refer to themselves.
const maxExample = 8

// Example returns a valid payload made from the schema's examples, defaults and
// types, or nil if it finds none.
func (s *Schema) Example() json.RawMessage {
	if s == nil {
		return nil
	}
	value := s.example(s.document, 0)
	text, err := json.Marshal(value)
	if err != nil || s.Validate(text) != nil {
		return nil
	}
	return text
}

// example returns a value for one part of the schema.
func (s *Schema) example(part any, depth int) any {
	object, ok := s.follow(part).(map[string]any)
	if !ok {
		return map[string]any{}
	}
	if value, ok := chosen(object); ok {
		return value
	}
	for _, keyword := range []string{"anyOf", "oneOf", "allOf"} {
		parts, _ := object[keyword].([]any)
		if len(parts) > 0 && object["type"] == nil && object["properties"] == nil && depth < maxExample {
			return s.example(parts[0], depth+1)
		}
	}
	switch kind := typeOf(object); kind {
	case "object":
		return s.exampleObject(object, depth)
	case "array":
		parts, ok := object["prefixItems"].([]any)
		if items := object["items"]; !ok && items != nil && items != false {
			parts = []any{items}
		}
		values := []any{}
		for _, part := range parts {
			if depth < maxExample {
				values = append(values, s.example(part, depth+1))
			}
		}
		return values
	case "integer", "number":
		for _, keyword := range []string{"minimum", "maximum"} {
			if value, ok := object[keyword].(json.Number); ok {
				return value
			}
		}
		return 0
	default:
		return blankOf(kind)
	}
}

// chosen returns a value that the schema names.
func chosen(object map[string]any) (any, bool) {
	if examples, ok := object["examples"].([]any); ok && len(examples) > 0 {
		return examples[0], true
	}
	for _, keyword := range []string{"default", "const"} {
		if value, ok := object[keyword]; ok {
			return value, true
		}
	}
	if values, ok := object["enum"].([]any); ok && len(values) > 0 {
		return values[0], true
	}
	return nil, false
}

// exampleObject returns an object with all members on the first levels, and with
// the required ones below.
func (s *Schema) exampleObject(object map[string]any, depth int) any {
	const shown = 3
	required, _ := object["required"].([]any)
	members := map[string]any{}
	properties, _ := object["properties"].(map[string]any)
	for name, part := range properties {
		needed := slices.Contains(required, any(name))
		if part != false && (needed && depth < maxExample || depth < shown) {
			members[name] = s.example(part, depth+1)
		}
	}
	return members
}

// Blank returns an object with an empty value for each member of a payload, or nil
// if the schema names no members.
func (s *Schema) Blank() json.RawMessage {
	if s == nil {
		return nil
	}
	object, _ := s.follow(s.document).(map[string]any)
	properties, ok := object["properties"].(map[string]any)
	if !ok {
		return nil
	}
	kinds := make(map[string]string, len(properties))
	for name, part := range properties {
		if part == false {
			continue
		}
		kinds[name] = "string"
		if member, ok := s.follow(part).(map[string]any); ok {
			kinds[name] = typeOf(member)
		}
	}
	return blanks(kinds)
}

// BlankOf is [Schema.Blank] for an example payload without a schema.
func BlankOf(example json.RawMessage) json.RawMessage {
	value, err := decode(example)
	members, ok := value.(map[string]any)
	if err != nil || !ok {
		return nil
	}
	kinds := make(map[string]string, len(members))
	for name, member := range members {
		kinds[name] = kindOf(member)
	}
	return blanks(kinds)
}

// blanks returns an object with an empty value of each member's type.
func blanks(kinds map[string]string) json.RawMessage {
	object := make(map[string]any, len(kinds))
	for name, kind := range kinds {
		object[name] = blankOf(kind)
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	return text
}

func blankOf(kind string) any {
	switch kind {
	case "object":
		return map[string]any{}
	case "array":
		return []any{}
	case "integer", "number":
		return 0
	case "boolean":
		return false
	case "null":
		return nil
	}
	return ""
}

// typeOf returns the first type of a part of a schema, or the one that its
// keywords suggest.
func typeOf(object map[string]any) string {
	switch kind := object["type"].(type) {
	case string:
		return kind
	case []any:
		if len(kind) > 0 {
			first, _ := kind[0].(string)
			return first
		}
	}
	for _, hint := range []struct{ keyword, kind string }{
		{"properties", "object"},
		{"required", "object"},
		{"additionalProperties", "object"},
		{"items", "array"},
		{"prefixItems", "array"},
		{"minimum", "number"},
		{"maximum", "number"},
		{"pattern", "string"},
		{"minLength", "string"},
		{"format", "string"},
	} {
		if _, ok := object[hint.keyword]; ok {
			return hint.kind
		}
	}
	if value, ok := chosen(object); ok {
		return kindOf(value)
	}
	return "object"
}

// kindOf returns the type of a decoded value.
func kindOf(value any) string {
	switch value.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case json.Number:
		return "number"
	case bool:
		return "boolean"
	case nil:
		return "null"
	}
	return "string"
}

// follow follows references to other parts of the schema.
func (s *Schema) follow(part any) any {
	for range maxExample {
		object, ok := part.(map[string]any)
		if !ok {
			return part
		}
		reference, ok := object["$ref"].(string)
		if !ok {
			return part
		}
		path, ok := strings.CutPrefix(reference, "#")
		if !ok {
			return map[string]any{}
		}
		part = s.document
		for token := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
			if token == "" {
				continue
			}
			object, ok := part.(map[string]any)
			if !ok {
				return map[string]any{}
			}
			part = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
		}
	}
	return part
}
