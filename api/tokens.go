package api

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/identity"
)

// TokenStore holds the hashes of the tokens of endpoints.
type TokenStore interface {
	// AddToken stores the first token of an endpoint, or returns a
	// [tasker.Conflict] error.
	AddToken(ctx context.Context, endpoint string, hash []byte) (tasker.EndpointToken, error)
	// RotateToken stores another token. The error is [tasker.NotFound] if there is
	// none.
	RotateToken(ctx context.Context, endpoint string, hash []byte, overlap time.Duration) (tasker.EndpointToken, error)
	// ListTokens returns one page of those that are valid, by ID.
	ListTokens(ctx context.Context, after int64, limit int) ([]tasker.EndpointToken, error)
}

const (
	// defaultOverlap is how long a token stays valid after another one has
	// replaced it.
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

// tokenHandlers serve the tokens of endpoints.
type tokenHandlers struct {
	store TokenStore
	log   *slog.Logger
}

// add serves POST /v1/endpoints/{endpoint}/token.
func (h *tokenHandlers) add(w http.ResponseWriter, r *http.Request) error {
	return h.issue(w, r, "add", h.store.AddToken)
}

// rotate serves POST /v1/endpoints/{endpoint}/token/rotate.
func (h *tokenHandlers) rotate(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	seconds := intParam(r.URL.Query(), "overlap", int64(defaultOverlap/time.Second), 0, int64(maxOverlap/time.Second), &errs)
	if err := errs.err(); err != nil {
		return err
	}
	return h.issue(w, r, "rotate", func(ctx context.Context, endpoint string, hash []byte) (tasker.EndpointToken, error) {
		return h.store.RotateToken(ctx, endpoint, hash, time.Duration(seconds)*time.Second)
	}, "overlap_seconds", seconds)
}

// issue makes a token, stores its hash, and answers with the token. Neither the
// log nor an error contains it.
func (h *tokenHandlers) issue(
	w http.ResponseWriter, r *http.Request, verb string,
	store func(ctx context.Context, endpoint string, hash []byte) (tasker.EndpointToken, error), attrs ...any,
) error {
	name := mux.Vars(r)["endpoint"]
	if err := tasker.ValidateEndpoint(name); err != nil {
		return err
	}
	token := identity.NewToken()
	digest, err := identity.Sum(token)
	if err != nil {
		return tasker.WrapError(tasker.Internal, err, "make a token")
	}
	stored, err := store(r.Context(), name, digest[:])
	if err != nil {
		return err
	}
	info := requestInfoOf(r)
	h.log.InfoContext(r.Context(), "endpoint token issued", append([]any{
		"verb", verb, "endpoint", name, "token_id", stored.ID, "principal", info.principal, "remote", r.RemoteAddr, "request_id", info.id,
	}, attrs...)...)
	return writeJSON(w, http.StatusCreated, client.IssuedToken{EndpointToken: stored, Token: token})
}

// list serves GET /v1/endpoint-tokens, oldest first.
func (h *tokenHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	limit, after := pageLimit(query, &errs), idCursor(query, &errs)
	if err := errs.err(); err != nil {
		return err
	}
	tokens, err := h.store.ListTokens(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	page := client.TokenPage{Tokens: append([]tasker.EndpointToken{}, tokens[:min(limit, len(tokens))]...)}
	if len(tokens) > limit {
		page.Next = nextPage(w, r, strconv.FormatInt(tokens[limit-1].ID, 10))
	}
	return writeJSON(w, http.StatusOK, page)
}
