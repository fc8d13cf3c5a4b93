package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// lettersPage lists the dead letters.
type lettersPage struct {
	Letters []client.DeadLetter
	First   bool
	Next    string
}

func showDeadLetters(v *visit) error {
	query := url.Values{"limit": {strconv.Itoa(pageRows)}}
	if cursor := v.r.URL.Query().Get("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	found, err := get[client.DeadLetterPage](v, query, "v1", "dead-letters")
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "deadletters", page{
		Title: "Dead letters", Section: "deadletters",
		Body: lettersPage{found.DeadLetters, !query.Has("cursor"), value(found.Next)},
	})
}

// letterPage is one dead letter.
type letterPage struct {
	Letter client.DeadLetter
	Body   document
	Wrong  string // why the last form was refused
}

func showDeadLetter(v *visit) error { return v.showLetter(http.StatusOK, "") }

func (v *visit) showLetter(status int, wrong string) error {
	id, err := v.letterID()
	if err != nil {
		return err
	}
	letter, err := v.api.DeadLetter(v.ctx(), id)
	if err != nil {
		return err
	}
	body := value(letter.Body)
	if letter.Body == nil {
		body = string(letter.BodyBase64)
	}
	return v.show(status, "deadletter", page{
		Title: "Dead letter " + strconv.FormatInt(id, 10), Section: "deadletters",
		Body: letterPage{
			Letter: letter, Wrong: wrong,
			Body: document{Text: text.VisibleLines(text.Shorten(body, maxShown)), Size: len(body), Cut: len(body) > maxShown},
		},
	})
}

func (v *visit) letterID() (int64, error) {
	id, err := strconv.ParseInt(v.r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, tasker.Errorf(tasker.NotFound, "dead letter not found")
	}
	return id, nil
}

func requeueDeadLetter(v *visit) error { return v.settleLetter(v.api.RequeueDeadLetter) }

func discardDeadLetter(v *visit) error { return v.settleLetter(v.api.DiscardDeadLetter) }

// settleLetter does something with a dead letter that ends it.
func (v *visit) settleLetter(do func(context.Context, int64) error) error {
	id, err := v.letterID()
	if err != nil {
		return err
	}
	if err := do(v.ctx(), id); err != nil {
		if !refused(err) {
			return err
		}
		f, status := failureOf(err)
		return v.showLetter(status, f.Detail)
	}
	return v.redirect("dead-letters")
}
