package api

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
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

// viewDeadLetter returns the JSON form of a dead letter.
func viewDeadLetter(l tasker.DeadLetter) client.DeadLetter {
	v := client.DeadLetter{
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
		v.BodyBase64 = l.Body
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
	page := client.DeadLetterPage{DeadLetters: []client.DeadLetter{}}
	for _, l := range letters[:min(limit, len(letters))] {
		page.DeadLetters = append(page.DeadLetters, viewDeadLetter(l))
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
	return writeJSON(w, http.StatusOK, viewDeadLetter(letter))
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
