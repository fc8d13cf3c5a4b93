package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/identity"
)

func (s *fakeStore) AddToken(_ context.Context, endpoint string, hash []byte) (tasker.EndpointToken, error) {
	defer s.begin("AddToken")()
	return s.addToken(endpoint, hash)
}

func (s *fakeStore) addToken(endpoint string, hash []byte) (tasker.EndpointToken, error) {
	if s.err != nil {
		return tasker.EndpointToken{}, s.err
	}
	token := tasker.EndpointToken{ID: int64(len(s.tokens) + 1), Endpoint: endpoint, CreatedTime: s.now}
	s.tokens, s.hashes = append(s.tokens, token), append(s.hashes, hash)
	return token, nil
}

func (s *fakeStore) RotateToken(_ context.Context, endpoint string, hash []byte, overlap time.Duration) (tasker.EndpointToken, error) {
	defer s.begin(fmt.Sprint("RotateToken ", overlap))()
	until := s.now.Add(overlap)
	for i := range s.tokens {
		if s.tokens[i].Endpoint == endpoint {
			s.tokens[i].ValidUntil, s.tokens[i].LastUsed = &until, "2015-05-06"
		}
	}
	return s.addToken(endpoint, hash)
}

func (s *fakeStore) ListTokens(_ context.Context, after int64, limit int) ([]tasker.EndpointToken, error) {
	defer s.begin("ListTokens")()
	var list []tasker.EndpointToken
	for _, token := range s.tokens {
		if token.ID > after && len(list) < limit {
			list = append(list, token)
		}
	}
	return list, s.err
}

func TestTokens(t *testing.T) {
	h := newHarness(t, withToken)
	do := func(method, path string) answer {
		t.Helper()
		return h.do(t, method, path, nil, "Authorization", tokenHeader)
	}
	for i, path := range []string{"/v1/endpoints/a/token", "/v1/endpoints/a/token/rotate", "/v1/endpoints/a/token/rotate?overlap=0"} {
		a := do(http.MethodPost, path)
		a.want(t, http.StatusCreated)
		issued := decode[client.IssuedToken](t, a.body)
		digest, err := identity.Sum(issued.Token)
		if err != nil || issued.Endpoint != "a" || issued.ID != int64(i+1) {
			t.Fatalf("%s: %s, %v", path, a.body, err)
		}
		if !bytes.Equal(h.store.hashes[i], digest[:]) {
			t.Errorf("%s: another hash is stored than that of the token", path)
		}
		if strings.Contains(h.log.String(), issued.Token[len(identity.Prefix):]) {
			t.Errorf("%s: the log holds the token", path)
		}
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the token may be cached: %v", path, a.header)
		}
	}
	if h.store.called("RotateToken 24h0m0s") != 1 || h.store.called("RotateToken 0s") != 1 {
		t.Errorf("calls %q", h.store.calls)
	}
	lines := h.log.lines(t, "endpoint token issued")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	for i, verb := range []string{"add", "rotate", "rotate"} {
		if l := lines[i]; l["verb"] != verb || l["endpoint"] != "a" || l["token_id"] == nil || l["principal"] != "token" {
			t.Errorf("%s: %v", verb, l)
		}
	}

	first := decode[client.TokenPage](t, do(http.MethodGet, "/v1/endpoint-tokens?limit=2").body)
	if len(first.Tokens) != 2 || first.Tokens[0].ValidUntil == nil || first.Next == nil {
		t.Fatalf("%+v", first)
	}
	second := decode[client.TokenPage](t, do(http.MethodGet, "/v1/endpoint-tokens?limit=2&cursor="+*first.Next).body)
	if len(second.Tokens) != 1 || second.Tokens[0].ValidUntil != nil || second.Next != nil {
		t.Errorf("%+v", second)
	}

	for path, status := range map[string]int{
		"/v1/endpoints/any/token":                      http.StatusUnprocessableEntity,
		"/v1/endpoints/-a/token":                       http.StatusUnprocessableEntity,
		"/v1/endpoints/a/token/rotate?overlap=-1":      http.StatusUnprocessableEntity,
		"/v1/endpoints/a/token/rotate?overlap=9999999": http.StatusUnprocessableEntity,
		"/v1/endpoints/a/token/rotate?overlap=24h":     http.StatusUnprocessableEntity,
		"/v1/endpoints/a/token?overlap=1":              http.StatusUnprocessableEntity,
		"/v1/endpoints/a/token?%zz":                    http.StatusBadRequest,
		"/v1/endpoints/a/token/rotate?%zz":             http.StatusBadRequest,
	} {
		do(http.MethodPost, path).want(t, status)
	}
	do(http.MethodGet, "/v1/endpoint-tokens?cursor=x").want(t, http.StatusUnprocessableEntity)
	do(http.MethodGet, "/v1/endpoint-tokens?%zz").want(t, http.StatusBadRequest)
	h.store.err = tasker.Errorf(tasker.Conflict, "endpoint has a token")
	do(http.MethodPost, "/v1/endpoints/a/token").want(t, http.StatusConflict)
	h.store.err = tasker.Errorf(tasker.NotFound, "endpoint has no token")
	do(http.MethodPost, "/v1/endpoints/a/token/rotate").want(t, http.StatusNotFound)
}
