package api

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// leastCompressed is the size in bytes from which an answer is worth compressing.
const leastCompressed = 1 << 10

// compressors has gzip writers, each of which needs a megabyte.
var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	return w
}}

// compressed compresses an answer in JSON, unless it is short.
type compressed struct {
	http.ResponseWriter
	begun bool
	gzip  *gzip.Writer // nil if the answer is not compressed
}

// compress returns a writer that compresses the answer if the client accepts it.
// done must be called at its end, but not if it is aborted: then nobody must take
// it for complete.
func compress(w http.ResponseWriter, r *http.Request) (out http.ResponseWriter, done func()) {
	if !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		return w, func() {}
	}
	c := &compressed{ResponseWriter: w}
	return c, c.close
}

// acceptsGzip reports whether the client asks for gzip.
func acceptsGzip(header []string) bool {
	for part := range strings.SplitSeq(strings.Join(header, ","), ",") {
		name, parameters, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(parameters), "=")
		quality, err := strconv.ParseFloat(value, 64)
		return !strings.EqualFold(key, "q") || err == nil && quality > 0
	}
	return false
}

// WriteHeader decides whether the answer is compressed.
func (c *compressed) WriteHeader(status int) {
	header := c.Header()
	if !c.begun && status >= http.StatusOK && strings.HasSuffix(header.Get("Content-Type"), "json") {
		c.begun = true
		header.Add("Vary", "Accept-Encoding")
		length := header.Get("Content-Length")
		if n, err := strconv.Atoi(length); length == "" || err == nil && n >= leastCompressed {
			header.Del("Content-Length")
			header.Set("Content-Encoding", "gzip")
			c.gzip = compressors.Get().(*gzip.Writer)
			c.gzip.Reset(c.ResponseWriter)
		}
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write writes a part of the answer.
func (c *compressed) Write(p []byte) (int, error) {
	if !c.begun && c.gzip == nil {
		c.begun = true // without a header
	}
	if c.gzip != nil {
		return c.gzip.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (c *compressed) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// close ends the answer.
func (c *compressed) close() {
	if c.gzip == nil {
		return
	}
	_ = c.gzip.Close() // an error means that the client disconnected
	compressors.Put(c.gzip)
	c.gzip = nil
}
