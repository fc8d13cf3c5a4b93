package gateway

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/taskerhq/tasker"
)

// tokens has the tokens of endpoints, and reads them again when they change.
type tokens struct {
	sources map[string]Token

	mu    sync.Mutex
	known map[string]string
}

func (t *tokens) add(endpoint string, source Token) {
	if t.sources == nil {
		t.sources, t.known = map[string]Token{}, map[string]string{}
	}
	t.sources[endpoint] = source
}

// get returns the token of an endpoint, as it was read last.
func (t *tokens) get(endpoint string) (string, error) { return t.renew(endpoint, "") }

// renew returns the token of an endpoint. If that is still the refused one, it
// reads it again.
func (t *tokens) renew(endpoint, refused string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token := t.known[endpoint]; token != refused {
		return token, nil
	}
	source, ok := t.sources[endpoint]
	if !ok {
		return "", errNoToken(endpoint, slices.Collect(maps.Keys(t.sources)))
	}
	token, err := source()
	if err == nil && token == "" {
		err = fmt.Errorf("it is empty")
	}
	if err != nil {
		return "", tasker.WrapError(tasker.Unauthorized, err, fmt.Sprintf("no token for endpoint %q", endpoint))
	}
	t.known[endpoint] = token
	return token, nil
}

// endpoints returns the endpoints, sorted.
func (t *tokens) endpoints() []string { return slices.Sorted(maps.Keys(t.sources)) }
