package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
)

// declareTimeout bounds the declaration of the topology, which retries to connect.
const declareTimeout = 30 * time.Second

// InitRabbitMQ creates the virtual host and the user of manager.message_queue.uri
// through the management API, permits the user only tasker's own topology, and
// declares that as this user. It can be repeated. A reset first deletes the virtual
// host, and with it all queues and their messages.
func InitRabbitMQ(ctx context.Context, cfg config.Config, opts InitOptions) error {
	account, err := accountOf(cfg.Rabbit.URIs)
	if err != nil {
		return err
	}
	admin := cfg.RabbitAdmin
	if admin.User == "" || admin.Password == "" {
		return tasker.Errorf(tasker.Invalid, "missing RabbitMQ administrator: set rabbitmq.user, and rabbitmq.password_file or %s",
			config.EnvName("rabbitmq.password"))
	}
	if admin.User == account.user && admin.Password != account.password {
		return tasker.Errorf(tasker.Invalid,
			"different passwords for user %s in rabbitmq.user and manager.message_queue.uri: give tasker its own user", admin.User)
	}
	client, err := rabbitadmin.New(admin.ManagementURI, admin.User, admin.Password)
	if err != nil {
		return err
	}
	if opts.DryRun {
		return describeVhost(ctx, client, account.vhost, opts.Out)
	}
	if opts.Reset {
		if err := client.DeleteVhost(ctx, account.vhost); err != nil {
			return err
		}
		say(opts.Out, "RabbitMQ: virtual host %s: deleted", account.vhost)
	}
	if err := account.ensure(ctx, client, opts.Out); err != nil {
		return err
	}
	if err := declare(ctx, cfg); err != nil {
		return err
	}
	say(opts.Out, "RabbitMQ: exchanges of %s, dead letters: declared", strings.Join(cfg.TaskTypeNames(), ", "))
	return nil
}

func describeVhost(ctx context.Context, client *rabbitadmin.Client, vhost string, out io.Writer) error {
	v, err := client.DescribeVhost(ctx, vhost)
	if err != nil {
		return err
	}
	if !v.Exists {
		say(out, "RabbitMQ: virtual host %s does not exist: nothing to delete", vhost)
		return nil
	}
	say(out, "RabbitMQ: would delete virtual host %s with %d queues and all their messages", vhost, v.Queues)
	return nil
}

// account is tasker's account at RabbitMQ.
type account struct {
	user, password, vhost string
}

// accountOf returns the account in the addresses, which must agree on it: they are the
// nodes of one cluster. Its errors contain no password.
func accountOf(uris []string) (account, error) {
	var all account
	for i, uri := range uris {
		u, err := url.Parse(uri)
		if err != nil {
			return account{}, tasker.Errorf(tasker.Invalid, "invalid manager.message_queue.uri: not a URI")
		}
		vhost := u.Path
		if len(vhost) > 1 {
			vhost = strings.TrimPrefix(vhost, "/")
		} else {
			vhost = "/"
		}
		password, _ := u.User.Password()
		a := account{u.User.Username(), password, vhost}
		if a.user == "" || a.password == "" {
			return account{}, tasker.Errorf(tasker.Invalid,
				"invalid manager.message_queue.uri: must contain the user and password to create")
		}
		if i > 0 && a != all {
			return account{}, tasker.Errorf(tasker.Invalid,
				"invalid manager.message_queue.uri: the addresses differ in user, password or virtual host; they must be nodes "+
					"of one cluster")
		}
		all = a
	}
	return all, nil
}

func (a account) ensure(ctx context.Context, client *rabbitadmin.Client, out io.Writer) error {
	created, err := client.EnsureVhost(ctx, a.vhost)
	if err != nil {
		return err
	}
	say(out, "RabbitMQ: virtual host %s: %s", a.vhost, made(created, "exists"))
	if created, err = client.EnsureUser(ctx, a.user, a.password); err != nil {
		return err
	}
	say(out, "RabbitMQ: user %s: %s", a.user, made(created, "exists, and has the configured password"))
	least := rabbitadmin.Least()
	if err := client.SetPermissions(ctx, a.vhost, a.user, least); err != nil {
		return err
	}
	say(out, "RabbitMQ: permissions of %s in %s: %s", a.user, a.vhost, least.Configure)
	return nil
}

// declare declares the topology as tasker's own user, which proves that its
// permissions suffice.
func declare(ctx context.Context, cfg config.Config) error {
	conf := cfg.Rabbit
	conf.ConnectionName = "tasker initialize"
	broker, err := rabbit.New(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }()
	ctx, cancel := context.WithTimeout(ctx, declareTimeout)
	defer cancel()
	if err := broker.Declare(ctx, cfg.TaskTypeNames()...); err != nil {
		return fmt.Errorf("declare the exchanges at RabbitMQ: %w", err)
	}
	return nil
}

func made(created bool, otherwise string) string {
	if created {
		return "created"
	}
	return otherwise
}

// say writes a line for people, and ignores errors.
func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
