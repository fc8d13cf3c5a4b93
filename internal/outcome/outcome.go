// Package outcome finds the results of a task that are alike but for the endpoint,
// the time and the like: 812 endpoints, 3 distinct outcomes.
//
// Text is masked before it is compared: placeholders such as <time> stand for what
// differs between endpoints that did the same. State and errnr are never masked:
// a failure is never alike to a success, nor to a failure of another kind.
package outcome

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/taskerhq/tasker"
)

// version is part of every hash. A change to what is masked increments it, so that
// hashes of two versions are not compared.
const version = "1"

// Key returns a hash, 32 hexadecimal digits, that results have in common if they
// are alike, and the text that they have in common: the state and errnr in its
// first line, then the masked errmsg and the masked payload, if there are any. It
// is the same in every process.
//
// It depends on Endpoint, State, Errnr, Errmsg and Payload only. If a read left the
// payload out, results are alike only if their PayloadSize is the same.
func Key(r *tasker.TaskResult) (hash, text string) {
	var m masker
	sum := m.sum(r)
	all := make([]byte, 0, len(m.head)+len(m.errmsg)+len(m.payload)+2)
	all = append(all, m.head...)
	for _, part := range [][]byte{m.errmsg, m.payload} {
		if len(part) > 0 {
			all = append(append(all, '\n'), part...)
		}
	}
	return hexOf(sum), string(all)
}

// Mask returns text with placeholders in place of the endpoint's own name, times,
// durations, process ids, addresses and generated ids. Masking its result again
// changes nothing. It takes time linear in the length of the text.
func Mask(endpoint, text string) string {
	m := masker{endpoint: endpoint}
	return string(m.mask(nil, text, everything))
}

// masker masks results one after the other, in buffers that it keeps.
type masker struct {
	endpoint string
	head     []byte // state and errnr
	errmsg   []byte
	payload  []byte
	text     []byte // a string of the payload
}

// hashSize is the length of a hash in bytes.
const hashSize = 16

// sum returns the hash of a result. It leaves the masked texts in m.
func (m *masker) sum(r *tasker.TaskResult) (sum [hashSize]byte) {
	m.endpoint = r.Endpoint
	m.errmsg = m.mask(m.errmsg[:0], r.Errmsg, everything)
	m.payload = m.maskPayload(m.payload[:0], r)
	m.head = strconv.AppendInt(append(append(m.head[:0], r.State...), ' '), int64(r.Errnr), 10)
	h := sha256.New()
	// The length tells the end of errmsg from the beginning of the payload.
	fmt.Fprintf(h, "%s %s %d\n", version, m.head, len(m.errmsg))
	h.Write(m.errmsg)
	h.Write(m.payload)
	copy(sum[:], h.Sum(nil))
	return sum
}

func hexOf(sum [hashSize]byte) string { return hex.EncodeToString(sum[:]) }
