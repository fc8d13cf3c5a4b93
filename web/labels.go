package web

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// label is a label of a task.
type label struct {
	Text   string
	Filter string // of the tasks that have it; empty if no filter can say that
}

// labelsOf returns the labels of a task, by key.
func labelsOf(labels map[string]string) []label {
	list := make([]label, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		l := label{Text: key + "=" + labels[key]}
		switch {
		case strings.Contains(l.Text, `"`):
		case strings.ContainsFunc(l.Text, unicode.IsSpace):
			l.Filter = `label:"` + l.Text + `"`
		default:
			l.Filter = "label:" + l.Text
		}
		list = append(list, l)
	}
	return list
}

// fewLabels is how many labels of a task a list shows.
const fewLabels = 4

// FewLabels returns the first labels of a task in a list.
func (t taskRow) FewLabels() []label {
	list := labelsOf(t.Labels)
	return list[:min(fewLabels, len(list))]
}

// MoreLabels returns how many labels the list does not show.
func (t taskRow) MoreLabels() int { return max(0, len(t.Labels)-fewLabels) }
