package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	"golang.org/x/crypto/ssh"
)

// signer makes a key, and returns its file and its line among the allowed signers.
func signer(t *testing.T, principal string) (file, line string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, principal + " " + string(ssh.MarshalAuthorizedKey(public))
}

// Whoever has the database's password, and nothing else, has nothing done at an endpoint
// that requires signatures, also after a restart of its manager.
func TestSigned(t *testing.T) {
	t.Parallel()
	key, line := signer(t, "alice")
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	if err := os.WriteFile(allowed, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, "TASKER_TASK_TYPES=[{name: worker, settings: {duration: 0}}]", "TASKER_MANAGER_VERIFY=require",
		"TASKER_MANAGER_ALLOWED_SIGNERS="+allowed, "TASKER_MANAGER_STATE_DIR="+dir, "TASKER_MANAGER_CATCH_UP=500ms")
	s.api()
	manager := s.manager("console1")
	p := start(t, s.env, "sign", "worker", "signed", "-e", "console1", "--payload", `{"a":1}`, "--sign="+key)
	if code := p.wait(); code != 0 {
		t.Fatalf("sign: exit %d: %s", code, p.output())
	}
	body := p.output()
	s.accept("worker", body)
	if a := s.await("/worker/signed", "DONE"); a.TaskResponseList[0].Attempt != 1 {
		t.Errorf("%+v", a.TaskResponseList)
	}

	thief := s.thief()
	thief("CREATE TEMPORARY TABLE stolen SELECT * FROM tasks WHERE identifier = 'signed'")
	insert := func(id int64, identifier, change string) {
		t.Helper()
		thief(
			fmt.Sprintf("UPDATE stolen SET id = %d, identifier = '%s', uid = NULL, status = 'SENT', "+
				"sent_time = UTC_TIMESTAMP(6) - INTERVAL 10 SECOND%s", id, identifier, change),
			"INSERT INTO tasks SELECT * FROM stolen",
			fmt.Sprintf("INSERT INTO task_targets (task_id, endpoint) VALUES (%d, 'console1')", id),
		)
	}
	rejected := func(identifier, why string) {
		t.Helper()
		a := s.awaitFor("/worker/"+identifier, "be refused", func(a answer) bool { return a.state("console1") == "REJECTED" })
		if r := a.TaskResponseList[0]; r.Errnr != -5 || r.Errmsg == nil || !strings.Contains(*r.Errmsg, why) {
			t.Errorf("%s: %+v", identifier, r)
		}
	}
	insert(1001, "another", "")
	rejected("another", "the task was changed after it was signed")
	thief("DELETE FROM task_results", "DELETE FROM tasks WHERE identifier = 'signed'")
	insert(1002, "signed", "")
	rejected("signed", "replayed: ")
	manager.kill()
	s.manager("console1")
	thief("DELETE FROM task_results", "DELETE FROM tasks WHERE identifier = 'signed'")
	insert(1003, "signed", "")
	rejected("signed", "replayed: ")
	const changed = `, payload = '{"a":2}', payload_sha256 = UNHEX(SHA2('{"a":2}', 256))`
	insert(1004, "changed", changed)
	rejected("changed", "the task was changed after it was signed")
	insert(1005, "unsigned", ", signature = NULL, signature_proof = NULL")
	rejected("unsigned", "not signed, and this endpoint requires signatures (manager.verify)")
}

// thief returns a function that changes the database as whoever has its password can.
func (s *system) thief() func(statements ...string) {
	s.t.Helper()
	u, err := url.Parse(s.mysql)
	if err != nil {
		s.t.Fatal(err)
	}
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path))
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := db.Conn(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close(); _ = db.Close() })
	return func(statements ...string) {
		s.t.Helper()
		for _, statement := range statements {
			if _, err := conn.ExecContext(s.t.Context(), statement); err != nil {
				s.t.Fatalf("%s: %v", statement, err)
			}
		}
	}
}
