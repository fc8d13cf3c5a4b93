package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/testcerts"
)

// secured is a file whose addresses have TLS. What is in DB and MQ is added.
const secured = `
task_types: [worker]
manager:
  db: {uri: "mysql://tasker:hunter2@db.example/tasker?tls=true"DB}
  message_queue: {uri: "amqps://tasker:hunter2@mq.example/tasker"MQ}
`

func securedWith(db, mq string) string {
	return strings.NewReplacer("DB}", db+"}", "MQ}", mq+"}").Replace(secured)
}

// The files for connections with TLS are checked when the configuration is read, and
// an error names the key.
func TestClientTLS(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	cert, key := ca.Issue(t, "tasker", time.Now().Add(100*24*time.Hour))
	_, otherKey := ca.Issue(t, "other", time.Now().Add(time.Hour))
	files := "ca_file: " + ca.File + ", cert_file: " + cert + ", key_file: " + key + ", server_name: one.example"
	own := "ca_file: " + ca.File + ", cert_file: " + cert + ", key_file: "
	for name, test := range map[string]struct {
		tls  string   // of both sections
		want []string // of each section's error, after its name; none if it is valid
	}{
		"all of it":             {files, nil},
		"the authority alone":   {"ca_file: " + ca.File, nil},
		"no key":                {"cert_file: " + cert, []string{"missing SECTION.key_file"}},
		"no certificate":        {"key_file: " + key, []string{"missing SECTION.cert_file"}},
		"another's key":         {own + otherKey, []string{"invalid SECTION.cert_file: ", "private key does not match"}},
		"no such file":          {"ca_file: none.pem", []string{"invalid SECTION.ca_file: ", "none.pem does not exist"}},
		"not a certificate":     {"ca_file: " + key, []string{"invalid SECTION.ca_file: ", "has no certificate in the form of PEM"}},
		"a name with a port":    {"server_name: 'a:1'", []string{"invalid SECTION.server_name: must be a host name without a port, got \"a:1\""}},
		"a key that is unknown": {"ca_fil: x", []string{`unknown key "SECTION.ca_fil": did you mean "SECTION.ca_file"?`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, section := t.TempDir(), ", tls: {"+test.tls+"}"
			c, err := loadAs(dir, securedWith(section, section), ofAPI)
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if name == "all of it" && (c.Store.TLS.CA != ca.File || c.Store.TLS.Cert != cert || c.Store.TLS.Key != key ||
					c.Store.TLS.ServerName != "one.example" || c.Rabbit.TLS != c.Store.TLS || len(c.Certificates()) != 2) {
					t.Errorf("%+v, %+v, %+v", c.Store.TLS, c.Rabbit.TLS, c.Certificates())
				}
				return
			}
			for _, section := range []string{"manager.db.tls", "manager.message_queue.tls"} {
				for _, want := range test.want {
					if want = strings.ReplaceAll(want, "SECTION", section); err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%v, want %q", err, want)
					}
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// Files that would not be used are an error, and so is what is said twice.
func TestUnusedClientTLS(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	cert, key := ca.Issue(t, "tasker", time.Now().Add(100*24*time.Hour))
	parameters := "?cacertfile=" + ca.File + "&certfile=" + cert + "&keyfile=" + key
	authority := ", tls: {ca_file: " + ca.File + "}"
	for name, test := range map[string]struct {
		old, new string // of the addresses
		db, mq   string
		want     string
	}{
		"MySQL in clear text": {"?tls=true", "", authority, "", "invalid manager.db.tls.ca_file: not used: add ?tls=true to manager.db.uri"},
		"MySQL unverified": {
			"tls=true", "tls=skip-verify", authority, "",
			"invalid manager.db.tls.ca_file: not used: tls=skip-verify does not check the certificate of the database: use ?tls=true in manager.db.uri",
		},
		"SQLite": {
			"mysql://tasker:hunter2@db.example/tasker?tls=true", "sqlite:///tmp/x.db", ", tls: {server_name: a}", "",
			"invalid manager.db.tls.server_name: not used: a sqlite database is a file of this machine",
		},
		"RabbitMQ in clear text": {
			"amqps://", "amqp://", "", authority, "invalid manager.message_queue.tls.ca_file: not used: use amqps:// in manager.message_queue.uri",
		},
		"parameters": {"/tasker\"MQ", "/tasker" + parameters + "\"MQ", "", "", ""},
		"parameters, and keys": {
			"/tasker\"MQ", "/tasker" + parameters + "\"MQ", "", authority,
			"invalid manager.message_queue.tls.ca_file: must not be set beside the parameter cacertfile of manager.message_queue.uri",
		},
		"a parameter without its file": {
			"/tasker\"MQ", "/tasker?cacertfile=/nowhere\"MQ", "", "",
			`invalid manager.message_queue.uri: invalid parameter "cacertfile": /nowhere does not exist`,
		},
		"half a certificate": {
			"/tasker\"MQ", "/tasker?certfile=" + cert + "\"MQ", "", "",
			"invalid manager.message_queue.uri: parameters certfile and keyfile belong together: give both, or neither",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := strings.NewReplacer("DB}", test.db+"}", "MQ}", test.mq+"}").Replace(strings.Replace(secured, test.old, test.new, 1))
			_, err := loadAs(t.TempDir(), content, ofAPI)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// Paths of the file are relative to its directory. A manager without a database does
// not look at the database's.
func TestClientTLSPaths(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	cert, key := ca.Issue(t, "tasker", time.Now().Add(100*24*time.Hour))
	section := ", tls: {ca_file: ca.pem, cert_file: tasker.pem, key_file: tasker.key}"
	c, err := loadAs(filepath.Dir(cert), securedWith(section, section), ofAPI)
	if err != nil || c.Store.TLS.CA != ca.File || c.Rabbit.TLS.Cert != cert || c.Rabbit.TLS.Key != key {
		t.Errorf("%+v, %+v, %v", c.Store.TLS, c.Rabbit.TLS, err)
	}
	section = ", tls: {ca_file: none}"
	if _, err := loadAs(t.TempDir(), securedWith(section, section), ofAPI|config.PartDatabase|config.PartBroker); err != nil {
		t.Error(err)
	}
}

// Certificates that servers refuse, or will soon, are warned of.
func TestClientTLSWarnings(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	for name, test := range map[string]struct {
		left time.Duration
		want string // of both sections
	}{
		"good":      {8 * 24 * time.Hour, ""},
		"ends soon": {24 * time.Hour, "SECTION.cert_file: FILE ends at"},
		"has ended": {-time.Hour, "SECTION.cert_file: FILE ended at"},
	} {
		cert, key := ca.Issue(t, strings.ReplaceAll(name, " ", "-"), time.Now().Add(test.left))
		section := ", tls: {cert_file: " + cert + ", key_file: " + key + "}"
		c, err := loadAs(t.TempDir(), securedWith(section, section), ofManager)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.Warnings(), "\n")
		if test.want == "" && got != "" {
			t.Errorf("%s: %s", name, got)
		}
		for _, section := range []string{"manager.db.tls", "manager.message_queue.tls"} {
			if want := strings.NewReplacer("SECTION", section, "FILE", cert).Replace(test.want); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %q", name, got, want)
			}
		}
		if name == "has ended" && (!strings.Contains(got, "the database refuses it") || !strings.Contains(got, "RabbitMQ refuses it")) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// The doctor repeats what is said of connections to other hosts, and nothing else.
func TestUnsafeAddresses(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, securedWith("", ""), "TASKER_MANAGER_DB_URI=mysql://u:p@db.example/d?tls=skip-verify", "TASKER_API_LISTEN=0.0.0.0", "TASKER_API_INSECURE=true")
	if got := c.UnsafeAddresses(); len(got) != 1 || !strings.Contains(got[0], "tls=skip-verify does not check the certificate of db.example") {
		t.Errorf("%q", got)
	}
	if got := mustLoad(t, securedWith("", "")).UnsafeAddresses(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
