package app_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// freshRabbit is a configuration for an account and a virtual host that do not
// exist yet, at the real RabbitMQ, with its administrator.
func freshRabbit(t *testing.T) config.Config {
	t.Helper()
	existing, err := url.Parse(testservices.RabbitMQ(t)) // for a name that is free
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(existing.Path, "/") + "_init"
	existing.Path = "/" + name
	existing.User = url.UserPassword(name, "p@ss/word")
	management, err := url.Parse(os.Getenv(testservices.EnvRabbitMQManagement))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		testservices.Management(t, http.MethodDelete, "/api/vhosts/"+name, "")
		testservices.Management(t, http.MethodDelete, "/api/users/"+name, "")
	})
	password, _ := management.User.Password()
	return config.Config{
		Rabbit: rabbit.Config{URIs: []string{existing.String()}},
		RabbitAdmin: config.RabbitAdmin{
			ManagementURI: management.Scheme + "://" + management.Host,
			User:          management.User.Username(), Password: password,
		},
		TaskTypes: []tasker.TaskType{{Name: "worker"}, {Name: "backup"}},
	}
}

func initRabbit(t *testing.T, cfg config.Config, opts app.InitOptions) string {
	t.Helper()
	var out bytes.Buffer
	opts.Out = &out
	if err := app.InitRabbitMQ(t.Context(), cfg, opts); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestInitRabbitMQ prepares a RabbitMQ, works there as tasker does, and resets
// it.
func TestInitRabbitMQ(t *testing.T) {
	t.Parallel()
	cfg := freshRabbit(t)
	if out := initRabbit(t, cfg, app.InitOptions{Reset: true, DryRun: true}); !strings.Contains(out, "does not exist") {
		t.Errorf("the first dry run: %s", out)
	}
	if out := initRabbit(t, cfg, app.InitOptions{}); strings.Count(out, ": created\n") != 2 {
		t.Errorf("the first time: %s", out)
	}
	out := initRabbit(t, cfg, app.InitOptions{})
	if strings.Count(out, ": exists") != 2 || strings.Contains(out, "p@ss") {
		t.Errorf("the second time: %s", out)
	}
	workAsTasker(t, cfg)
	// worker's queue of console1, and the one of the dead letters
	if out := initRabbit(t, cfg, app.InitOptions{Reset: true, DryRun: true}); !strings.Contains(out, "with 2 queues and all their messages") {
		t.Errorf("the second dry run: %s", out)
	}
	if out := initRabbit(t, cfg, app.InitOptions{Reset: true}); !strings.Contains(out, ": deleted\n") {
		t.Errorf("the reset: %s", out)
	}
	if out := initRabbit(t, cfg, app.InitOptions{Reset: true, DryRun: true}); !strings.Contains(out, "with 1 queues") {
		t.Errorf("after the reset: %s", out)
	}
}

// workAsTasker does all that tasker does with a broker: it declares, publishes,
// consumes, gives up a message, sends an event and listens.
func workAsTasker(t *testing.T, cfg config.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := rabbit.New(cfg.Rabbit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var consumers sync.WaitGroup
	defer func() {
		cancel()
		consumers.Wait()
		_ = b.Close()
	}()
	if err := b.Declare(ctx, "worker"); err != nil {
		t.Fatal(err)
	}
	ready, settled, heard := make(chan struct{}), make(chan error, 1), make(chan string, 1)
	consumers.Go(func() {
		_ = b.Consume(ctx, broker.Subscription{
			Queue:   broker.Queue{TaskType: "worker", Endpoint: "console1"},
			Deliver: func(d broker.Delivery) { settled <- d.DeadLetter(ctx, "a test") },
			Ready: func(now bool) {
				if now {
					close(ready)
				}
			},
		})
	})
	consumers.Go(func() {
		_ = b.Listen(ctx, "results.#", func(key string, _ []byte) {
			select {
			case heard <- key:
			default:
			}
		})
	})
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal("the consumer was not registered")
	}
	receipt, err := b.Publish(ctx, broker.Publication{TaskType: "worker", Target: broker.To("console1"), MessageID: "m", Body: []byte("{}")})
	if err != nil || len(receipt.Unserved) > 0 {
		t.Fatalf("publish: %+v, %v", receipt, err)
	}
	select {
	case err := <-settled:
		if err != nil {
			t.Errorf("dead letter: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("the message was not delivered")
	}
	// An event is lost until the listener is there: send until it is heard.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := b.Notify(ctx, "results.worker", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
			return
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the event was not heard")
		}
	}
}

func TestInitRabbitMQRefusals(t *testing.T) {
	t.Parallel()
	admin := config.RabbitAdmin{ManagementURI: "http://127.0.0.1:1", User: "boss", Password: "hunter2"}
	for name, test := range map[string]struct {
		uris  []string
		admin config.RabbitAdmin
		want  string
	}{
		"no administrator":   {[]string{"amqp://u:p@h/v"}, config.RabbitAdmin{}, "set rabbitmq.user, and rabbitmq.password_file or TASKER_RABBITMQ_PASSWORD"},
		"no user to make":    {[]string{"amqp://h/v"}, admin, "must contain the user and password"},
		"several clusters":   {[]string{"amqp://u:p@h/v", "amqp://u:p@h/w"}, admin, "must be nodes of one cluster"},
		"the administrator":  {[]string{"amqp://boss:hunter3@h/v"}, admin, "give tasker its own user"},
		"nobody is there":    {[]string{"amqp://u:p@h/v"}, admin, "management API at http://127.0.0.1:1"},
		"an address of junk": {[]string{"amqp://u:p@h:x/v"}, admin, "not a URI"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config.Config{Rabbit: rabbit.Config{URIs: test.uris}, RabbitAdmin: test.admin}
			err := app.InitRabbitMQ(t.Context(), cfg, app.InitOptions{Out: new(bytes.Buffer)})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
