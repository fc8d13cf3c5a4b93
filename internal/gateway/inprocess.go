package gateway

import (
	"bytes"
	"io"
	"net/http"
)

// InProcessAddress is the address of a gateway that is reached by [InProcess].
const InProcessAddress = "http://localhost"

// InProcess returns a transport for a client in the process of its server: there is
// no network between them, and nothing else differs.
func InProcess(handler http.Handler) http.RoundTripper { return inProcess{handler} }

type inProcess struct{ handler http.Handler }

// RoundTrip has the handler answer the request.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &answerWriter{header: http.Header{}, status: http.StatusOK}
	served := make(chan struct{})
	go func() {
		defer close(served)
		t.handler.ServeHTTP(w, r)
	}()
	select {
	case <-served:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answerWriter keeps an answer.
type answerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the header of the answer.
func (w *answerWriter) Header() http.Header { return w.header }

// WriteHeader sets the status.
func (w *answerWriter) WriteHeader(status int) { w.status = status }

// Write adds to the body.
func (w *answerWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
