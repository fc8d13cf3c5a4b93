package handlers

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
)

const (
	maxRetryAfter = time.Hour
	maxErrorBody  = 512 // bytes of an answer that an errmsg shows
)

// judge makes a result of an answer. refusal is why a redirect was not
// followed.
func (h *httpHandler) judge(resp *http.Response, refusal error) (Result, error) {
	well := isWell(resp)
	if well && h.conf.Result == "none" {
		return nil, nil
	}
	body, err := readAnswer(resp, int64(h.conf.MaxResponse))
	switch {
	case well && err != nil:
		return nil, fmt.Errorf("the answer broke off after %d bytes: %w", len(body.content), err)
	case well:
		return body.result(h.conf.Result)
	}
	failure := fmt.Errorf("%d %s%s", resp.StatusCode, http.StatusText(resp.StatusCode), body.excerpt())
	if refusal != nil {
		failure = fmt.Errorf("%d %s: %w", resp.StatusCode, http.StatusText(resp.StatusCode), refusal)
	}
	failure = WithCode(resp.StatusCode, failure)
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if delay := retryAfter(resp.Header, time.Now()); delay > 0 {
			failure = RetryAfter(delay, failure)
		}
	default:
		failure = Permanent(failure)
	}
	if h.conf.Result == "none" {
		return nil, failure
	}
	result, _ := body.result("auto")
	return result, failure
}

func isWell(resp *http.Response) bool { return resp.StatusCode >= 200 && resp.StatusCode < 300 }

// retryAfter reads the header Retry-After: seconds, or a date, which is
// compared with the peer's own clock where that is known. 0 means that there
// is none, or none in the future.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	var delay time.Duration
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		delay = seconds(float64(n))
	} else if at, err := http.ParseTime(text); err == nil {
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			now = date
		}
		delay = at.Sub(now)
	}
	return max(0, min(delay, maxRetryAfter))
}

// answer is what was kept of a body.
type answer struct {
	content   []byte
	truncated bool
	size      int64 // of the whole, -1 where it is not known
	mediaType string
}

// readAnswer reads a body up to a limit, which counts what was compressed as
// it is uncompressed.
func readAnswer(resp *http.Response, limit int64) (answer, error) {
	a := answer{size: resp.ContentLength, mediaType: resp.Header.Get("Content-Type")}
	var err error
	a.content, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if int64(len(a.content)) > limit {
		a.content, a.truncated, err = a.content[:limit], true, nil
	}
	return a, err
}

// text gives the content where it is text; what was cut off in the middle of
// a character ends before it.
func (a *answer) text() (string, bool) {
	content := a.content
	if a.truncated {
		for i := 1; i <= min(utf8.UTFMax-1, len(content)); i++ {
			if start := len(content) - i; utf8.RuneStart(content[start]) {
				if !utf8.FullRune(content[start:]) {
					content = content[:start]
				}
				break
			}
		}
	}
	binary := bytes.IndexFunc(content, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) >= 0
	return string(content), utf8.Valid(content) && !binary
}

// result gives the form that the setting "result" asks for. See
// docs/handlers.md for the object that stands for what is no JSON and no text,
// or was cut off.
func (a *answer) result(form string) (Result, error) {
	text, isText := a.text()
	switch {
	case len(a.content) == 0 && !a.truncated:
		return nil, nil
	case a.truncated:
		out := struct {
			Body      string `json:"body,omitempty"`
			Base64    []byte `json:"body_base64,omitempty"`
			Truncated bool   `json:"truncated"`
			Size      *int64 `json:"size,omitempty"`
		}{Truncated: true}
		if a.size >= 0 {
			out.Size = &a.size
		}
		if isText {
			out.Body = text
		} else {
			out.Base64 = a.content
		}
		result, err := jsonResult(out)
		if err == nil && form == "json" {
			err = Permanent(fmt.Errorf("the answer is longer than max_response, which is %d bytes", len(a.content)))
		}
		return result, err
	case form != "text" && json.Valid(a.content) && utf8.Valid(a.content):
		return Result(a.content), nil
	case isText:
		result, err := jsonResult(text)
		if err == nil && form == "json" {
			err = Permanent(fmt.Errorf("the answer is no JSON%s", a.excerpt()))
		}
		return result, err
	}
	result, err := jsonResult(struct {
		Base64    []byte `json:"body_base64"`
		MediaType string `json:"content_type,omitempty"`
	}{a.content, strings.ToValidUTF8(a.mediaType, "\uFFFD")})
	if err == nil && form == "json" {
		err = Permanent(errors.New("the answer is no JSON, and no text"))
	}
	return result, err
}

// excerpt gives the beginning of a body for people, after a colon.
func (a *answer) excerpt() string {
	content, more := a.content, ""
	if len(content) > maxErrorBody {
		content, more = content[:maxErrorBody], "..."
	}
	cut := answer{content: content, truncated: true}
	text, isText := cut.text()
	switch text = strings.Join(strings.Fields(text), " "); {
	case len(a.content) == 0:
		return ""
	case !isText:
		return fmt.Sprintf(": %d bytes that are no text", len(a.content))
	case text == "":
		return ""
	}
	return ": " + text + more
}

// withoutURL takes the URL, which may hold secrets, out of an error of
// net/http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// jsonResult writes a value as JSON, "<" as it is.
func jsonResult(v any) (Result, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
