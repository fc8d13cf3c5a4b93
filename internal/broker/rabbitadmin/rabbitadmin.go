// Package rabbitadmin prepares RabbitMQ for tasker through its management API:
// a virtual host, a user, and the least permissions that tasker needs. It looks
// at what is there, too, without changing it.
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
	// deleteTimeout is longer: thousands of queues may go.
	deleteTimeout = 5 * time.Minute
	maxAnswer     = 32 << 20 // the bindings of some ten thousand queues
)

// Client calls the management API of one RabbitMQ as one user, who must be an
// administrator. It is safe for concurrent use.
//
// Its errors say what to do about them; their codes are
// [tasker.Unavailable] (no answer), [tasker.Unauthorized] (not this user) and
// [tasker.Internal].
type Client struct {
	base           *url.URL
	user, password string
	http           *http.Client
}

// New makes a Client for the management API at uri, such as
// http://127.0.0.1:15672. It does not connect.
func New(uri, user, password string) (*Client, error) {
	base, err := url.Parse(uri)
	if err != nil || base.Host == "" || base.User != nil || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("the address of RabbitMQ's management API must be http://host:port or https://host:port")
	}
	return &Client{
		base: base, user: user, password: password,
		http: &http.Client{
			// A few calls, and no connection that stays behind.
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// EnsureVhost makes a virtual host unless it exists, and tells whether it did.
func (c *Client) EnsureVhost(ctx context.Context, vhost string) (created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, "/api/vhosts/"+url.PathEscape(vhost), struct{}{}, nil)
	if err != nil {
		return false, fmt.Errorf("make the virtual host %q: %w", vhost, err)
	}
	return status == http.StatusCreated, nil
}

// EnsureUser makes a user with that password, or gives an existing one that
// password and leaves its tags as they are. It tells whether it made one.
func (c *Client) EnsureUser(ctx context.Context, user, password string) (created bool, err error) {
	path := "/api/users/" + url.PathEscape(user)
	var existing struct {
		Tags any `json:"tags"` // a string with commas before RabbitMQ 3.9, then a list
	}
	if _, err := c.call(ctx, http.MethodGet, path, nil, &existing); err != nil && tasker.CodeOf(err) != tasker.NotFound {
		return false, fmt.Errorf("look for the user %q: %w", user, err)
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
		return false, fmt.Errorf("make the user %q: %w", user, err)
	}
	return status == http.StatusCreated, nil
}

// Permissions are regular expressions over the names of exchanges and queues:
// which a user may declare and delete, publish and bind to, and consume from.
type Permissions struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// Least are the permissions that tasker's user needs: its own topology, and
// the queues that RabbitMQ names, for events.
func Least() Permissions {
	const own = `^(tasker\..*|amq\.gen.*)$`
	return Permissions{Configure: own, Write: own, Read: own}
}

// SetPermissions gives a user permissions in a virtual host, in place of those
// it had there.
func (c *Client) SetPermissions(ctx context.Context, vhost, user string, p Permissions) error {
	path := "/api/permissions/" + url.PathEscape(vhost) + "/" + url.PathEscape(user)
	if _, err := c.call(ctx, http.MethodPut, path, p, nil); err != nil {
		return fmt.Errorf("give the user %q permissions in the virtual host %q: %w", user, vhost, err)
	}
	return nil
}

// Vhost is what there is in a virtual host.
type Vhost struct {
	Exists bool
	Queues int
}

// DescribeVhost tells what a virtual host holds.
func (c *Client) DescribeVhost(ctx context.Context, vhost string) (Vhost, error) {
	name := url.PathEscape(vhost)
	_, err := c.call(ctx, http.MethodGet, "/api/vhosts/"+name, nil, nil)
	if tasker.CodeOf(err) == tasker.NotFound {
		return Vhost{}, nil
	}
	if err != nil {
		return Vhost{}, fmt.Errorf("look at the virtual host %q: %w", vhost, err)
	}
	var page struct {
		Total int `json:"total_count"`
	}
	if _, err := c.call(ctx, http.MethodGet, "/api/queues/"+name+"?page=1&page_size=1&disable_stats=true", nil, &page); err != nil {
		return Vhost{}, fmt.Errorf("count the queues of the virtual host %q: %w", vhost, err)
	}
	return Vhost{Exists: true, Queues: page.Total}, nil
}

// DeleteVhost deletes a virtual host with all it holds; that there is none is
// no error.
func (c *Client) DeleteVhost(ctx context.Context, vhost string) error {
	_, err := c.call(ctx, http.MethodDelete, "/api/vhosts/"+url.PathEscape(vhost), nil, nil)
	if err != nil && tasker.CodeOf(err) != tasker.NotFound {
		return fmt.Errorf("delete the virtual host %q: %w", vhost, err)
	}
	return nil
}

// call sends body, unless it is nil, and decodes the answer into answer,
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
			err = e.Err // without the address, which the message has already
		}
		return 0, tasker.WrapError(tasker.Unavailable, err, fmt.Sprintf(
			"RabbitMQ's management API does not answer at %s: is RabbitMQ running, with its management plugin enabled (rabbitmq-plugins enable rabbitmq_management)?", c.base))
	}
	defer func() { _ = resp.Body.Close() }()
	received, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, tasker.WrapError(tasker.Unavailable, err, fmt.Sprintf("the answer of RabbitMQ's management API at %s broke off", c.base))
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return resp.StatusCode, c.refusal(resp.StatusCode, received)
	}
	if answer != nil {
		if err := json.Unmarshal(received, answer); err != nil {
			return 0, tasker.WrapError(tasker.Internal, err, fmt.Sprintf("what answers at %s is not RabbitMQ's management API", c.base))
		}
	}
	return resp.StatusCode, nil
}

// refusal makes an error of an answer that is no success.
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
	// RabbitMQ answers 401 to a user that is none of its administrators, too.
	case status == http.StatusUnauthorized && strings.HasPrefix(reason, "not_auth") && !strings.Contains(reason, "Login failed"), status == http.StatusForbidden:
		return tasker.Errorf(tasker.Unauthorized, "the RabbitMQ user %q may not do this at %s (%s): it must be an administrator (rabbitmqctl set_user_tags %s administrator)", c.user, c.base, reason, c.user)
	case status == http.StatusUnauthorized:
		return tasker.Errorf(tasker.Unauthorized, "RabbitMQ at %s refuses the user %q (%s): check rabbitmq.user and its password; the user guest may come from the same machine only", c.base, c.user, reason)
	}
	return tasker.Errorf(tasker.Internal, "RabbitMQ's management API at %s answered %d: %s", c.base, status, reason)
}
