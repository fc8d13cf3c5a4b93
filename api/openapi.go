package api

import (
	"crypto/sha256"
	_ "embed" // for openapi.yaml
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

//go:embed openapi.yaml
var openAPIDocument []byte

// OpenAPI returns a copy of the contract of the API, an OpenAPI document in YAML.
func OpenAPI() []byte { return append([]byte(nil), openAPIDocument...) }

// serveOpenAPI serves GET /openapi.yaml.
func serveOpenAPI(w http.ResponseWriter, r *http.Request) error {
	hash := sha256.Sum256(openAPIDocument)
	tag := `"` + hex.EncodeToString(hash[:16]) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache") // may be cached, but must be revalidated
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPIDocument)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(openAPIDocument) // an error means that the client disconnected
	return nil
}

// matches reports whether If-None-Match contains a tag, compared weakly.
func matches(values []string, tag string) bool {
	for _, value := range values {
		for candidate := range strings.SplitSeq(value, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
				return true
			}
		}
	}
	return false
}
