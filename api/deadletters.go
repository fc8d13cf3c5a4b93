package api

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// DeadLetterStore holds the dead letters. If a letter does not exist, its
// methods return a [tasker.NotFound] error.
type DeadLetterStore interface {
	// ListDeadLetters returns one page, each letter with at most the first
	// [tasker.DeadLetterPreview] bytes of its body.
	ListDeadLetters(ctx context.Context, q tasker.DeadLetterQuery) ([]tasker.DeadLetter, error)
	FindDeadLetter(ctx context.Context, id int64) (tasker.DeadLetter, error)
	DeleteDeadLetter(ctx context.Context, id int64) error
}

// Requeuer sends dead letters back.
type Requeuer interface {
	// Requeue sends a dead letter back to its queue. It returns
	// [tasker.NotFound] if the letter does not exist and [tasker.Conflict] if it
	// cannot be sent back; the letter stays on every error.
	Requeue(ctx context.Context, id int64) error
}

// deadLetterHandlers serve the dead letters.
type deadLetterHandlers struct {
	store    DeadLetterStore
	requeuer Requeuer
	log      *slog.Logger
}

// DeadLetter is the JSON form of a dead letter.
type DeadLetter struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason"` // empty if unknown
	Queue  string `json:"queue"`  // empty if unknown
	// TaskType and Endpoint are parsed from the queue's name; both are empty if
	// that is not possible, and Endpoint for the queue that all endpoints share.
	TaskType  string    `json:"task_type,omitempty"`
	Endpoint  string    `json:"endpoint,omitempty"`
	MessageID string    `json:"message_id"`
	Time      time.Time `json:"time"`
	Size      int64     `json:"size"` // of the whole body, in bytes
	// Body is set if the body is UTF-8; otherwise BodyBase64 is.
	Body       *string `json:"body,omitempty"`
	BodyBase64 *string `json:"body_base64,omitempty"`
	// Truncated reports that this is only the beginning of the body.
	Truncated bool `json:"truncated,omitempty"`
}

// ViewDeadLetter returns the JSON form of a dead letter.
func ViewDeadLetter(l tasker.DeadLetter) DeadLetter {
	v := DeadLetter{
		ID: l.ID, Reason: l.Reason, Queue: l.Queue, MessageID: l.MessageID, Time: l.Time, Size: l.Size,
		Truncated: int64(len(l.Body)) < l.Size,
	}
	if q, ok := broker.ParseQueueName(l.Queue); ok {
		v.TaskType, v.Endpoint = q.TaskType, q.Endpoint
	}
	body := l.Body
	if v.Truncated {
		body = wholeRunes(body)
	}
	if utf8.Valid(body) {
		text := string(body)
		v.Body = &text
	} else {
		encoded := base64.StdEncoding.EncodeToString(l.Body)
		v.BodyBase64 = &encoded
	}
	return v
}

// wholeRunes removes an incomplete character from the end of truncated text.
func wholeRunes(b []byte) []byte {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}

// deadLetterPage is one page of dead letters. Next is the cursor of the next
// page, null on the last one.
type deadLetterPage struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	Next        *string      `json:"next"`
}

// list serves GET /v1/dead-letters, newest first.
func (h *deadLetterHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	limit := pageLimit(query, &errs)
	q := tasker.DeadLetterQuery{Limit: limit + 1, Before: idCursor(query, &errs)}
	if err := errs.err(); err != nil {
		return err
	}
	letters, err := h.store.ListDeadLetters(r.Context(), q)
	if err != nil {
		return err
	}
	page := deadLetterPage{DeadLetters: []DeadLetter{}}
	for _, l := range letters[:min(limit, len(letters))] {
		page.DeadLetters = append(page.DeadLetters, ViewDeadLetter(l))
	}
	if len(letters) > limit {
		page.Next = nextPage(w, r, strconv.FormatInt(letters[limit-1].ID, 10))
	}
	return writeJSON(w, http.StatusOK, page)
}

// get serves GET /v1/dead-letters/{id}, with the whole body.
func (h *deadLetterHandlers) get(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	letter, err := h.store.FindDeadLetter(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, ViewDeadLetter(letter))
}

// discard serves DELETE /v1/dead-letters/{id}.
func (h *deadLetterHandlers) discard(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	if err := h.store.DeleteDeadLetter(r.Context(), id); err != nil {
		return err
	}
	h.log.InfoContext(r.Context(), "dead letter discarded", "id", id, "request_id", requestInfoOf(r).id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// requeue serves POST /v1/dead-letters/{id}/requeue.
func (h *deadLetterHandlers) requeue(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	if err := h.requeuer.Requeue(r.Context(), id); err != nil {
		return err
	}
	h.log.InfoContext(r.Context(), "dead letter requeued", "id", id, "request_id", requestInfoOf(r).id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deadLetterID returns the id in a request's path.
func deadLetterID(r *http.Request) (int64, error) {
	text := mux.Vars(r)["id"]
	id, ok := rowID(text)
	if !ok {
		return 0, tasker.Errorf(tasker.NotFound, "dead letter %q not found: %s lists them", clip(text, tasker.MaxName), routeDeadLetters)
	}
	return id, nil
}
