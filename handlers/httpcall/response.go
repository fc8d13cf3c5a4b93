package httpcall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/jsonx"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	maxRetryAfter = time.Hour
	maxErrorBody  = 512 // bytes of a body that an errmsg shows
)

// judge makes a result of a response. refusal is why a redirect was not followed.
func (h *handler) judge(resp *http.Response, refusal error) (handlers.Result, error) {
	success := isSuccess(resp)
	if success && h.conf.Result == "none" {
		return nil, nil
	}
	body, err := readBody(resp, int64(h.conf.MaxResponse))
	switch {
	case success && err != nil:
		return nil, fmt.Errorf("the response ended after %d bytes: %w", len(body.content), err)
	case success:
		return body.result(h.conf.Result)
	}
	failure := fmt.Errorf("%d %s%s", resp.StatusCode, http.StatusText(resp.StatusCode), body.excerpt())
	if refusal != nil {
		failure = fmt.Errorf("%d %s: %w", resp.StatusCode, http.StatusText(resp.StatusCode), refusal)
	}
	failure = handlers.WithCode(resp.StatusCode, failure)
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if delay := retryAfter(resp.Header, time.Now()); delay > 0 {
			failure = handlers.RetryAfter(delay, failure)
		}
	default:
		failure = handlers.Permanent(failure)
	}
	if h.conf.Result == "none" {
		return nil, failure
	}
	result, _ := body.result("auto")
	return result, failure
}

func isSuccess(resp *http.Response) bool { return resp.StatusCode >= 200 && resp.StatusCode < 300 }

// retryAfter reads the header Retry-After: seconds, or a date, which is compared with
// the server's clock if that is known. It returns 0 if there is no such header,
// or its time has passed.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	var delay time.Duration
	if n, err := strconv.ParseUint(value, 10, 63); err == nil {
		delay = clock.Seconds(float64(n))
	} else if at, err := http.ParseTime(value); err == nil {
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			now = date
		}
		delay = at.Sub(now)
	}
	return max(0, min(delay, maxRetryAfter))
}

// body is what was kept of a response's body.
type body struct {
	content   []byte
	truncated bool
	size      int64 // of all of it, or -1 if unknown
	mediaType string
}

// readBody reads a body up to a limit, which counts uncompressed bytes.
func readBody(resp *http.Response, limit int64) (body, error) {
	b := body{size: resp.ContentLength, mediaType: resp.Header.Get("Content-Type")}
	var err error
	b.content, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if int64(len(b.content)) > limit {
		b.content, b.truncated, err = b.content[:limit], true, nil
	}
	return b, err
}

// text returns the content if it is text, without a character that was cut off.
func (b *body) text() (string, bool) {
	content := b.content
	if b.truncated {
		content = text.WholeRunes(content)
	}
	binary := bytes.IndexFunc(content, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) >= 0
	return string(content), utf8.Valid(content) && !binary
}

// result returns the form that the setting "result" asks for. docs/handlers.md
// describes the object for a body that is neither JSON nor text, or was cut off.
func (b *body) result(form string) (handlers.Result, error) {
	content, isText := b.text()
	switch {
	case len(b.content) == 0 && !b.truncated:
		return nil, nil
	case b.truncated:
		result, err := b.truncatedResult(content, isText)
		if err == nil && form == "json" {
			err = handlers.Permanent(fmt.Errorf("the response is longer than max_response (%d bytes)", len(b.content)))
		}
		return result, err
	case form != "text" && json.Valid(b.content) && utf8.Valid(b.content):
		return b.content, nil
	case isText:
		result, err := jsonx.Encode(content)
		if err == nil && form == "json" {
			err = handlers.Permanent(fmt.Errorf("the response is not JSON%s", b.excerpt()))
		}
		return result, err
	}
	result, err := jsonx.Encode(struct {
		Base64    []byte `json:"body_base64"`
		MediaType string `json:"content_type,omitempty"`
	}{b.content, strings.ToValidUTF8(b.mediaType, "\uFFFD")})
	if err == nil && form == "json" {
		err = handlers.Permanent(errors.New("the response is neither JSON nor text"))
	}
	return result, err
}

func (b *body) truncatedResult(content string, isText bool) (handlers.Result, error) {
	out := struct {
		Body      string `json:"body,omitempty"`
		Base64    []byte `json:"body_base64,omitempty"`
		Truncated bool   `json:"truncated"`
		Size      *int64 `json:"size,omitempty"`
	}{Truncated: true}
	if b.size >= 0 {
		out.Size = &b.size
	}
	if isText {
		out.Body = content
	} else {
		out.Base64 = b.content
	}
	return jsonx.Encode(out)
}

// excerpt returns the beginning of the body for a message, after a colon.
func (b *body) excerpt() string {
	content, more := b.content, ""
	if len(content) > maxErrorBody {
		content, more = content[:maxErrorBody], "..."
	}
	cut := body{content: content, truncated: true}
	shown, isText := cut.text()
	switch shown = strings.Join(strings.Fields(shown), " "); {
	case len(b.content) == 0:
		return ""
	case !isText:
		return fmt.Sprintf(": %d bytes that are not text", len(b.content))
	case shown == "":
		return ""
	}
	return ": " + shown + more
}

// withoutURL returns the cause of an error of net/http without the URL, which may
// contain secrets.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
