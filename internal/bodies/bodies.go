// Package bodies reads the bodies of requests within bounds of memory.
package bodies

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/taskerhq/tasker"
)

const (
	// Free is how much of each body is read whatever others hold, in bytes: small
	// requests pass while large ones have to wait.
	Free = 16 << 10
	// maxDropped bounds how much of a rejected body is read and dropped, so that a
	// client that sends all of it first can read the response.
	maxDropped = 64 << 20
)

// Pool bounds the memory of request bodies that are held at once. Make one with
// [NewPool].
type Pool struct {
	most int64
	held atomic.Int64
}

// NewPool returns a pool for so many bytes, beyond the first [Free] of each body.
func NewPool(most int64) *Pool { return &Pool{most: most} }

// Held returns the bytes that are held.
func (p *Pool) Held() int64 { return p.held.Load() }

// Read reads a body to its end. The memory grows with what arrives, not with what
// the client announces. release frees it, also after an error. If other requests
// hold too much, the error is [tasker.Overloaded].
func (p *Pool) Read(r io.Reader) (body []byte, release func(), err error) {
	var taken int64
	release = func() { p.held.Add(-taken) }
	body = make([]byte, 0, 512)
	for {
		if len(body) == cap(body) {
			size := int64(2 * cap(body))
			if size > Free {
				more := size - max(taken, 0)
				if p.held.Add(more) > p.most {
					p.held.Add(-more)
					return nil, release, tasker.Errorf(tasker.Overloaded,
						"too many requests at once: nothing was done; retry after the seconds in Retry-After")
				}
				taken = size
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, release, nil
		}
		if err != nil {
			return nil, release, err
		}
	}
}

// Drop reads and drops the rest of the body of a rejected request. Clients that
// send all of it before they read would otherwise get a reset connection in place
// of the response. A client that waits for "100 Continue" has sent nothing.
func Drop(r *http.Request) {
	if r.Body == nil || strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, maxDropped)
}

// TooLarge returns the error for a body over the limit.
func TooLarge(limit int64) error {
	return tasker.Errorf(tasker.TooLarge, "body too large: the limit is %d bytes", limit)
}
