package outcome

import "github.com/taskerhq/tasker"

// Key returns the hash of a result, and what it is of: the state and errnr in its
// first line, then the masked errmsg and the masked payload, if there are any.
func Key(r *tasker.TaskResult) (hash, text string) {
	var m masker
	sum := m.sum(r)
	all := append([]byte(nil), m.head...)
	for _, part := range [][]byte{m.errmsg, m.payload} {
		if len(part) > 0 {
			all = append(append(all, '\n'), part...)
		}
	}
	return hexOf(sum), string(all)
}

// Mask returns text as a masked errmsg has it.
func Mask(endpoint, text string) string {
	m := masker{endpoint: endpoint}
	return string(m.mask(nil, text, everything))
}
