package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// keywords are the keywords of JSON Schema, and what their values contain.
var keywords = map[string]int{
	"$schema": noSchema, "$id": noSchema, "$ref": noSchema, "$anchor": noSchema, "$dynamicRef": noSchema,
	"$dynamicAnchor": noSchema, "$vocabulary": noSchema, "$comment": noSchema, "$defs": schemaMap, "definitions": schemaMap,
	"allOf": schemaList, "anyOf": schemaList, "oneOf": schemaList, "not": oneSchema, "if": oneSchema, "then": oneSchema, "else": oneSchema,
	"dependentSchemas": schemaMap, "prefixItems": schemaList, "items": oneSchema, "contains": oneSchema, "properties": schemaMap,
	"patternProperties": schemaMap, "additionalProperties": oneSchema, "propertyNames": oneSchema,
	"unevaluatedItems": oneSchema, "unevaluatedProperties": oneSchema,
	"type": noSchema, "enum": noSchema, "const": noSchema, "multipleOf": noSchema, "maximum": noSchema, "exclusiveMaximum": noSchema,
	"minimum": noSchema, "exclusiveMinimum": noSchema, "maxLength": noSchema, "minLength": noSchema, "pattern": noSchema,
	"maxItems": noSchema, "minItems": noSchema, "uniqueItems": noSchema, "maxContains": noSchema, "minContains": noSchema,
	"maxProperties": noSchema, "minProperties": noSchema, "required": noSchema, "dependentRequired": noSchema,
	"format": noSchema, "contentEncoding": noSchema, "contentMediaType": noSchema, "contentSchema": oneSchema,
	"title": noSchema, "description": noSchema, "default": noSchema, "deprecated": noSchema, "readOnly": noSchema,
	"writeOnly": noSchema, "examples": noSchema,
	// Of other drafts, and of OpenAPI.
	"dependencies": schemaMap, "additionalItems": oneSchema, "example": noSchema, "comment": noSchema, "id": noSchema, "nullable": noSchema,
}

const (
	noSchema = iota
	oneSchema
	schemaList
	schemaMap
)

// checkKeywords refuses misspelled keywords: JSON Schema ignores unknown members,
// so that a misspelled rule would allow everything. Members that resemble no
// keyword are annotations.
func checkKeywords(at []string, schema any) error {
	object, ok := schema.(map[string]any)
	if !ok {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		place := append(slices.Clip(at), name)
		kind, known := keywords[name]
		if !known {
			for _, keyword := range slices.Sorted(maps.Keys(keywords)) {
				if strings.EqualFold(name, keyword) || len(keyword) > 3 && oneSlip(name, keyword) {
					return fmt.Errorf("unknown keyword %q at %q: did you mean %q?", clip(name), clip(pointer(place)), keyword)
				}
			}
			continue
		}
		if err := checkHeld(place, kind, object[name]); err != nil {
			return err
		}
	}
	return nil
}

// checkHeld checks the schemas that a keyword's value contains.
func checkHeld(at []string, kind int, value any) error {
	switch held := value.(type) {
	case json.Number:
		return checkCount(at, held)
	case map[string]any:
		if kind == oneSchema {
			return checkKeywords(at, held)
		}
		for _, name := range slices.Sorted(maps.Keys(held)) {
			if kind != schemaMap {
				break
			}
			if err := checkKeywords(append(slices.Clip(at), name), held[name]); err != nil {
				return err
			}
		}
	case []any:
		for i, one := range held {
			if kind == noSchema {
				break
			}
			if err := checkKeywords(append(slices.Clip(at), strconv.Itoa(i)), one); err != nil {
				return err
			}
		}
	}
	return nil
}

// counts are the keywords whose values are counts.
var counts = []string{"maxLength", "minLength", "maxItems", "minItems", "maxContains", "minContains", "maxProperties", "minProperties"}

// checkCount refuses a limit that the validator would truncate to 64 bits.
func checkCount(at []string, limit json.Number) error {
	if !slices.Contains(counts, at[len(at)-1]) {
		return nil
	}
	if n, ok := new(big.Rat).SetString(limit.String()); ok && n.IsInt() && !n.Num().IsInt64() {
		return fmt.Errorf("invalid limit at %q: must be at most %d", clip(pointer(at)), math.MaxInt64)
	}
	return nil
}

// oneSlip reports whether a and b differ by one letter that is added, missing or
// wrong, or by two that are swapped.
func oneSlip(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}
