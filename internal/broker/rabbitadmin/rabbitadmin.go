// Package rabbitadmin sets up RabbitMQ for tasker through its management API: a
// virtual host, a user, and the permissions that tasker needs and no more. It
// also inspects what exists, without changing it.
package rabbitadmin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	callTimeout = 15 * time.Second
	// deleteTimeout is longer: there may be thousands of queues.
	deleteTimeout = 5 * time.Minute
	maxAnswer     = 32 << 20 // the bindings of about ten thousand queues
)

// Client calls the management API of a RabbitMQ as one user, who must be an
// administrator. It is safe for concurrent use.
//
// Its errors say what to do; their codes are [tasker.Unavailable] (no answer),
// [tasker.Unauthorized] (user refused) and [tasker.Internal].
type Client struct {
	base           *url.URL
	user, password string
	http           *http.Client
}

// New returns a Client for the management API at uri, such as
// http://127.0.0.1:15672. It does not connect.
func New(uri, user, password string) (*Client, error) {
	base, err := url.Parse(uri)
	if err != nil || base.Host == "" || base.User != nil || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("invalid address of RabbitMQ's management API: must be http://host:port or https://host:port")
	}
	return &Client{
		base: base, user: user, password: password,
		http: &http.Client{
			// For a few calls: keep no connections.
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// EnsureVhost creates a virtual host unless it exists, and reports whether it
// did.
func (c *Client) EnsureVhost(ctx context.Context, vhost string) (created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, "/api/vhosts/"+url.PathEscape(vhost), struct{}{}, nil)
	if err != nil {
		return false, fmt.Errorf("create the virtual host %q: %w", vhost, err)
	}
	return status == http.StatusCreated, nil
}

// EnsureUser creates a user with a password, or sets the password of an
// existing one and keeps its tags. It reports whether it created one.
func (c *Client) EnsureUser(ctx context.Context, user, password string) (created bool, err error) {
	path := "/api/users/" + url.PathEscape(user)
	var existing struct {
		Tags any `json:"tags"` // before RabbitMQ 3.9 a string with commas, then a list
	}
	if _, err := c.call(ctx, http.MethodGet, path, nil, &existing); err != nil && tasker.CodeOf(err) != tasker.NotFound {
		return false, fmt.Errorf("read the user %q: %w", user, err)
	}
	tags, _ := existing.Tags.(string)
	if list, ok := existing.Tags.([]any); ok {
		words := make([]string, 0, len(list))
		for _, tag := range list {
			words = append(words, fmt.Sprint(tag))
		}
		tags = strings.Join(words, ",")
	}
	body := map[string]string{"password": password, "tags": tags}
	status, err := c.call(ctx, http.MethodPut, path, body, nil)
	if err != nil {
		return false, fmt.Errorf("create the user %q: %w", user, err)
	}
	return status == http.StatusCreated, nil
}

// Permissions are regular expressions over the names of exchanges and queues:
// those that a user may declare and delete, publish and bind to, and consume
// from.
type Permissions struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// Least are the permissions that tasker's user needs: for its own topology, and
// for the queues that RabbitMQ names, for events.
func Least() Permissions {
	const own = `^(tasker\..*|amq\.gen.*)$`
	return Permissions{Configure: own, Write: own, Read: own}
}

// SetPermissions replaces a user's permissions in a virtual host.
func (c *Client) SetPermissions(ctx context.Context, vhost, user string, p Permissions) error {
	path := "/api/permissions/" + url.PathEscape(vhost) + "/" + url.PathEscape(user)
	if _, err := c.call(ctx, http.MethodPut, path, p, nil); err != nil {
		return fmt.Errorf("set the permissions of the user %q in the virtual host %q: %w", user, vhost, err)
	}
	return nil
}

// Vhost describes a virtual host.
type Vhost struct {
	Exists bool
	Queues int
}

// DescribeVhost returns what a virtual host contains.
func (c *Client) DescribeVhost(ctx context.Context, vhost string) (Vhost, error) {
	name := url.PathEscape(vhost)
	_, err := c.call(ctx, http.MethodGet, "/api/vhosts/"+name, nil, nil)
	if tasker.CodeOf(err) == tasker.NotFound {
		return Vhost{}, nil
	}
	if err != nil {
		return Vhost{}, fmt.Errorf("read the virtual host %q: %w", vhost, err)
	}
	var page struct {
		Total int `json:"total_count"`
	}
	if _, err := c.call(ctx, http.MethodGet, "/api/queues/"+name+"?page=1&page_size=1&disable_stats=true", nil, &page); err != nil {
		return Vhost{}, fmt.Errorf("count the queues of the virtual host %q: %w", vhost, err)
	}
	return Vhost{Exists: true, Queues: page.Total}, nil
}

// DeleteVhost deletes a virtual host with all it contains, if it exists.
func (c *Client) DeleteVhost(ctx context.Context, vhost string) error {
	_, err := c.call(ctx, http.MethodDelete, "/api/vhosts/"+url.PathEscape(vhost), nil, nil)
	if err != nil && tasker.CodeOf(err) != tasker.NotFound {
		return fmt.Errorf("delete the virtual host %q: %w", vhost, err)
	}
	return nil
}

// call sends body, unless it is nil, and decodes the response into answer,
// unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) (status int, err error) {
	timeout := callTimeout
	if method == http.MethodDelete {
		timeout = deleteTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, content)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth(c.user, c.password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address, which is in the message already
		}
		return 0, tasker.WrapError(tasker.Unavailable, err, fmt.Sprintf(
			"no answer from RabbitMQ's management API at %s: is RabbitMQ running, "+
				"with its management plugin enabled (rabbitmq-plugins enable rabbitmq_management)?", c.base))
	}
	defer func() { _ = resp.Body.Close() }()
	received, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, tasker.WrapError(tasker.Unavailable, err, fmt.Sprintf("incomplete response from RabbitMQ's management API at %s", c.base))
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return resp.StatusCode, c.refusal(resp.StatusCode, received)
	}
	if answer != nil {
		if err := json.Unmarshal(received, answer); err != nil {
			return 0, tasker.WrapError(tasker.Internal, err, fmt.Sprintf("the server at %s is not RabbitMQ's management API", c.base))
		}
	}
	return resp.StatusCode, nil
}

// refusal returns the error of a response that is not a success.
func (c *Client) refusal(status int, content []byte) error {
	var said struct {
		Error  string `json:"error"`
		Reason any    `json:"reason"`
	}
	reason := http.StatusText(status)
	if json.Unmarshal(content, &said) == nil && said.Error != "" {
		reason = fmt.Sprintf("%s: %v", said.Error, said.Reason)
	}
	reason = text.Shorten(reason, 300)
	switch {
	case status == http.StatusNotFound:
		return tasker.Errorf(tasker.NotFound, "RabbitMQ's management API at %s: %s", c.base, reason)
	// RabbitMQ also answers 401 to users that are not administrators.
	case status == http.StatusForbidden,
		status == http.StatusUnauthorized && strings.HasPrefix(reason, "not_auth") && !strings.Contains(reason, "Login failed"):
		return tasker.Errorf(tasker.Unauthorized, "RabbitMQ user %q may not do this at %s (%s): "+
			"it must be an administrator (rabbitmqctl set_user_tags %s administrator)", c.user, c.base, reason, c.user)
	case status == http.StatusUnauthorized:
		return tasker.Errorf(tasker.Unauthorized, "RabbitMQ at %s refuses the user %q (%s): "+
			"check rabbitmq.user and its password; the user guest may connect from the same machine only", c.base, c.user, reason)
	}
	return tasker.Errorf(tasker.Internal, "RabbitMQ's management API at %s returned %d: %s", c.base, status, reason)
}
