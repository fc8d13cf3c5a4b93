package api

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/selector"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// decodeLabels decodes the labels of a task. null and an empty object mean absent.
func decodeLabels(value json.RawMessage, errs *inputErrors) map[string]string {
	if kindOfJSON(value) == "null" {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		errs.add("/labels", `invalid labels: must be an object such as {"ticket":"CHG-7"}, not %s`, kindOfJSON(value))
		return nil
	}
	if at, found := jsonx.Duplicate(value); found {
		field := clip("/labels"+at, maxPointer)
		errs.add(field, "duplicate member %q: give each label once", field)
		return nil
	}
	if len(members) > tasker.MaxTaskLabels {
		errs.add("/labels", "too many labels: %d, the limit is %d", len(members), tasker.MaxTaskLabels)
		return nil
	}
	if len(members) == 0 {
		return nil
	}
	labels := make(map[string]string, len(members))
	size := 0
	for _, key := range slices.Sorted(maps.Keys(members)) {
		field := "/labels" + pointer(key)
		text, ok := stringOf(members[key])
		err := selector.WellFormedLabelKey(key)
		if err == nil && ok {
			err = selector.ValidLabelValue(text)
		}
		switch {
		case err != nil:
			errs.add(field, "%v", err)
		case !ok:
			errs.add(field, "invalid label value: must be a string, not %s: put it in quotes", kindOfJSON(members[key]))
		}
		labels[key] = text
		size += len(key) + len(text)
	}
	if size > tasker.MaxTaskLabelsSize {
		errs.add("/labels", "labels too large: %d bytes of keys and values, the limit is %d", size, tasker.MaxTaskLabelsSize)
	}
	return labels
}

// labelParams returns the labels that a search asks for, which are given as key=value, or
// as key for any value.
func labelParams(query url.Values, errs *inputErrors) []tasker.LabelFilter {
	values := query["label"]
	if len(values) > tasker.MaxTaskLabels {
		errs.add("?label", "too many labels: %d, the limit is %d", len(values), tasker.MaxTaskLabels)
		return nil
	}
	var labels []tasker.LabelFilter
	for _, value := range values {
		label := tasker.ParseLabelFilter(value)
		if !selector.IsLabelKey(label.Key) {
			errs.add("?label", "invalid label %q: must be a key and a value such as ticket=CHG-7, or a key alone",
				clip(value, selector.MaxLabelKey))
			continue
		}
		if label.Value != nil {
			if err := selector.ValidLabelValue(*label.Value); err != nil {
				errs.add("?label", "%v", err)
			}
		}
		labels = append(labels, label)
	}
	return labels
}
