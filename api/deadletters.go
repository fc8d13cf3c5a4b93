package api

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// DeadLetter is how a dead letter is shown.
type DeadLetter struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason"` // empty where nobody gave one
	Queue  string `json:"queue"`  // empty where it is not known
	// TaskType and Endpoint are what the queue's name says; both are empty
	// where it says nothing, and Endpoint for the queue that all share.
	TaskType  string    `json:"task_type,omitempty"`
	Endpoint  string    `json:"endpoint,omitempty"`
	MessageID string    `json:"message_id"`
	Time      time.Time `json:"time"`
	Size      int64     `json:"size"` // of the whole body, in bytes
	// Body is the body where that is UTF-8; else BodyBase64 is.
	Body       *string `json:"body,omitempty"`
	BodyBase64 *string `json:"body_base64,omitempty"`
	// Truncated tells that this is the beginning of the body only.
	Truncated bool `json:"truncated,omitempty"`
}

// ViewDeadLetter shows a dead letter, with as much of its body as it has.
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

// wholeRunes drops the beginning of a character from the end of a text that
// was cut.
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

// deadLetterPage is one page of dead letters. Next is the cursor of the page
// that follows, null on the last one.
type deadLetterPage struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	Next        *string      `json:"next"`
}

// listDeadLetters answers GET /v1/dead-letters, newest first.
func (s *Server) listDeadLetters(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	limit := pageLimit(query, &errs)
	q := tasker.DeadLetterQuery{Limit: limit + 1}
	if query.Has("cursor") {
		var ok bool
		if q.Before, ok = rowID(query.Get("cursor")); !ok {
			errs.add("?cursor", "the cursor is none that this list gave: take it from \"next\"")
		}
	}
	if err := errs.err(); err != nil {
		return err
	}
	letters, err := s.store.ListDeadLetters(r.Context(), q)
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

// getDeadLetter answers GET /v1/dead-letters/{id}, with the whole body.
func (s *Server) getDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	letter, err := s.store.FindDeadLetter(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, ViewDeadLetter(letter))
}

// discardDeadLetter answers DELETE /v1/dead-letters/{id}.
func (s *Server) discardDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	if err := s.store.DeleteDeadLetter(r.Context(), id); err != nil {
		return err
	}
	s.log.InfoContext(r.Context(), "a dead letter was discarded", "id", id, "request_id", requestInfoOf(r).id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// requeueDeadLetter answers POST /v1/dead-letters/{id}/requeue.
func (s *Server) requeueDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	if err := s.requeuer.Requeue(r.Context(), id); err != nil {
		return err
	}
	s.log.InfoContext(r.Context(), "a dead letter was requeued", "id", id, "request_id", requestInfoOf(r).id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deadLetterID gives the id of a request's path.
func deadLetterID(r *http.Request) (int64, error) {
	text := mux.Vars(r)["id"]
	id, ok := rowID(text)
	if !ok {
		return 0, tasker.Errorf(tasker.NotFound, "there is no dead letter %q: %s lists them", clip(text, tasker.MaxName), routeDeadLetters)
	}
	return id, nil
}

// rowID reads the id of a row, as this API writes it.
func rowID(text string) (id int64, ok bool) {
	id, err := strconv.ParseInt(text, 10, 64)
	return id, err == nil && id > 0 && strconv.FormatInt(id, 10) == text
}
