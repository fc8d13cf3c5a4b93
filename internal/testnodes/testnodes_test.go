package testnodes_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/testnodes"
)

// need skips a test whose server is not installed.
func need(t *testing.T, program string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// within returns a context with a timeout far longer than three starts of a
// server on a busy machine.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func openMySQL(t *testing.T, uri string) *sql.DB {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	conf := mysql.NewConfig()
	conf.Net, conf.Addr, conf.User = "tcp", u.Host, u.User.Username()
	conf.Passwd, _ = u.User.Password()
	db, err := sql.Open("mysql", conf.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Committed data survives a kill, at the same address.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	need(t, "mariadbd")
	ctx := within(t)
	m, err := testnodes.StartMariaDB(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	uri, pid := m.URI(), m.PID()
	db := openMySQL(t, uri)
	for _, statement := range []string{"CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=InnoDB", "INSERT INTO d.t VALUES (7)"} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	m.Kill()
	if m.Alive() {
		t.Error("alive after Kill")
	}
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if m.URI() != uri || m.PID() == pid {
		t.Errorf("after the restart: %s pid %d, before: %s pid %d", m.URI(), m.PID(), uri, pid)
	}
	var a int
	if err := openMySQL(t, uri).QueryRowContext(ctx, "SELECT a FROM d.t").Scan(&a); err != nil || a != 7 {
		t.Errorf("row %d, %v; want 7", a, err)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
}

// A durable queue survives a kill but not a wipe, and an alarm blocks
// publishers.
func TestRabbitMQ(t *testing.T) {
	t.Parallel()
	need(t, "rabbitmq-server")
	ctx := within(t)
	r, err := testnodes.StartRabbitMQ(ctx, t.TempDir(), testnodes.RabbitMQOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := withChannel(r, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("q", true, false, false, false, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.Wipe(); !errors.Is(err, testnodes.ErrRunning) {
		t.Errorf("Wipe of a running node: %v", err)
	}
	r.Kill()
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	exists := func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive("q", true, false, false, false, nil)
		return err
	}
	if err := withChannel(r, exists); err != nil {
		t.Errorf("queue after the kill: %v", err)
	}
	checkAlarm(ctx, t, r)
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if err := r.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := withChannel(r, exists); err == nil {
		t.Error("the queue survived the wipe")
	}
}

func withChannel(r *testnodes.RabbitMQ, use func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(r.URI())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return use(ch)
}

func checkAlarm(ctx context.Context, t *testing.T, r *testnodes.RabbitMQ) {
	t.Helper()
	conn, err := amqp.Dial(r.URI())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{true, false} {
		if err := r.Alarm(ctx, on); err != nil {
			t.Fatal(err)
		}
		// RabbitMQ notifies only connections that publish.
		if err := ch.Publish("", "q", false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-blocked:
			if b.Active != on {
				t.Errorf("blocked: %v, want %v", b.Active, on)
			}
		case <-ctx.Done():
			t.Fatal("no blocked notification")
		}
	}
}

// A paused process is alive, and TERM does not end it until it is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	p, err := testnodes.StartProcess(exec.Command("sleep", "300"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("the paused process ended")
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if code := p.ExitCode(); code != -1 {
		t.Errorf("exit code %d", code)
	}
}
