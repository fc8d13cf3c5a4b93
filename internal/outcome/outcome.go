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

// sum returns a hash that results have in common if they are alike. It is the same
// in every process, and depends on Endpoint, State, Errnr, Errmsg and Payload only.
// If a read left the payload out, results are alike only if their PayloadSize is the
// same. It leaves the masked texts in m.
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
