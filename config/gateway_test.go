package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/testcerts"
)

// The parts that a command needs not, by its name.
const (
	ofManager = config.PartAPI | config.PartGateway | config.PartAdmin
	ofAPI     = config.PartManager | config.PartAdmin
	ofCheck   = 0
)

// atGateway is the file of a machine that runs a manager in gateway mode. Files are
// in DIR.
const atGateway = `
task_types: [worker]
manager:
  mode: gateway
  gateway: {addresses: "https://g1:8889", token_file: a.token}
  message_queue: {uri: "amqp://tasker:pw@127.0.0.1:5672/tasker"}
`

// loadAs loads a file from a directory, as a command.
func loadAs(dir, content string, without config.Part, environ ...string) (config.Config, error) {
	if err := os.WriteFile(filepath.Join(dir, "test.config.yaml"), []byte(content), 0o600); err != nil {
		return config.Config{}, err
	}
	return config.Load(config.Options{Mode: "test", Dir: dir, Environ: environ, Without: without})
}

// A manager in gateway mode needs no database, and neither does the check of its
// configuration.
func TestGatewayMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token := identity.NewToken()
	write(t, dir, "a.token", token+"\n")
	for name, without := range map[string]config.Part{"manager": ofManager, "check": ofCheck} {
		c, err := loadAs(dir, atGateway, without)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.ManagerMode != config.ModeGateway || !c.ManagersOnly || c.Store.URI != "" || len(c.Warnings()) > 0 ||
			!cmp.Equal(c.GatewayClient.Addresses, []string{"https://g1:8889"}) {
			t.Errorf("%s: %+v, %q", name, c.GatewayClient.Addresses, c.Warnings())
		}
		if got, err := c.GatewayClient.Token("a"); got != token || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		// The file is read again each time: a token may be rotated.
		renewed := identity.NewToken()
		write(t, dir, "a.token", renewed)
		if got, err := c.GatewayClient.Token("a"); got != renewed || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		write(t, dir, "a.token", token)
		if err := c.CheckEndpoints([]string{"a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.CheckEndpoints([]string{"a", "b"}); err == nil || !strings.Contains(err.Error(), "secrets/{endpoint}.token") {
			t.Errorf("%s: %v", name, err)
		}
		if shown, err := c.YAML(); err != nil || strings.Contains(string(shown), token) {
			t.Errorf("%s: %v\n%s", name, err, shown)
		}
	}
	if _, err := loadAs(dir, atGateway, ofAPI); err == nil || !strings.Contains(err.Error(), "missing manager.db.uri") {
		t.Errorf("an API: %v", err)
	}
	// No file is needed.
	c, err := config.Load(config.Options{Mode: "none", Dir: dir, Without: ofManager, Environ: []string{
		"TASKER_TASK_TYPES=worker", "TASKER_MANAGER_MODE=gateway", "TASKER_MANAGER_GATEWAY_ADDRESSES=https://g1:8889, http://127.0.0.1:1",
		"TASKER_MANAGER_GATEWAY_TOKEN=" + token, "TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://h",
	}})
	if err != nil || len(c.GatewayClient.Addresses) != 2 {
		t.Fatal(c.GatewayClient.Addresses, err)
	}
	shown, err := c.YAML()
	if err != nil || strings.Contains(string(shown), token) {
		t.Errorf("%v\n%s", err, shown)
	}
	_, err = config.Load(config.Options{Mode: "none", Dir: dir, Without: ofManager, Environ: []string{"TASKER_MANAGER_MODE=gateway"}})
	if err == nil || !strings.Contains(err.Error(), "TASKER_MANAGER_GATEWAY_ADDRESSES") || strings.Contains(err.Error(), "_DB_URI") {
		t.Error(err)
	}
}

// A manager of several endpoints has a file with a token for each.
func TestTokenOfEachEndpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := identity.NewToken(), identity.NewToken()
	write(t, dir, "a.token", a)
	write(t, dir, "b.token", b)
	write(t, dir, "c.token", b[:len(b)-1])
	c, err := loadAs(dir, strings.Replace(atGateway, "a.token", "'{endpoint}.token'", 1), ofManager)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": a, "b": b} {
		if got, err := c.GatewayClient.Token(name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := c.CheckEndpoints([]string{"a", "b"}); err != nil {
		t.Error(err)
	}
	err = c.CheckEndpoints([]string{"a", "c", "d"})
	wrong, ok := errors.AsType[*config.Error](err)
	if !ok || len(wrong.Problems) != 2 || !strings.Contains(wrong.Problems[0], "endpoint c: invalid manager.gateway.token_file") ||
		!strings.Contains(wrong.Problems[0], "not copied completely") || !strings.Contains(wrong.Problems[1], "d.token does not exist") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), b[12:30]) {
		t.Errorf("the message contains a token: %v", err)
	}
}

func TestWrongGateway(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "g", time.Now().Add(100*24*time.Hour))
	_, otherKey := ca.Issue(t, "other", time.Now().Add(time.Hour))
	token := identity.NewToken()
	client := func(keys string) string {
		return strings.Replace(atGateway, `addresses: "https://g1:8889", token_file: a.token`, keys, 1)
	}
	server := func(keys string) string { return minimal + "gateway: " + keys + "\n" }
	for name, test := range map[string]struct {
		content string
		without config.Part
		want    string // empty if it is valid
	}{
		"mode":               {"manager: {mode: proxy}", ofManager, "must be one of database, gateway"},
		"no address":         {client("token_file: a.token"), ofManager, "missing manager.gateway.addresses"},
		"not a URL":          {client("addresses: g1, token_file: a.token"), ofManager, "address 1: must start with https://"},
		"clear text":         {client("addresses: ['https://g1:1', 'http://g2:1'], token_file: a.token"), ofManager, "address 2: g2 is another host, and everybody on the way could read the token"},
		"loopback":           {client("addresses: 'http://127.0.0.1:1', token_file: a.token"), ofManager, ""},
		"a path":             {client("addresses: 'https://g1/x', token_file: a.token"), ofManager, "must have the form https://host:8889"},
		"a user":             {client("addresses: 'https://u:p@g1', token_file: a.token"), ofManager, "must have the form https://host:8889"},
		"numbers":            {client("addresses: [1], token_file: a.token"), ofManager, "must be an address or a list of addresses"},
		"no token":           {client("addresses: 'https://g1:1'"), ofManager, "missing manager.gateway.token_file"},
		"two tokens":         {client("addresses: 'https://g1:1', token_file: a.token, token: " + token), ofManager, "must not be set beside manager.gateway.token"},
		"an API's token":     {client("addresses: 'https://g1:1', token: 0123456789abcdef0123456789abcdef"), ofManager, "begins with tasker_ep_"},
		"no such file":       {client("addresses: 'https://g1:1', token_file: none"), ofManager, "none does not exist"},
		"no CA":              {client("addresses: 'https://g1:1', token_file: a.token, ca_file: none"), ofManager, "none does not exist"},
		"a key as CA":        {client("addresses: 'https://g1:1', token_file: a.token, ca_file: " + keyFile), ofManager, "no certificate in the form of PEM"},
		"a CA":               {client("addresses: 'https://g1:1', token_file: a.token, ca_file: " + ca.File), ofManager, ""},
		"not of the manager": {server("{listen: nonsense}"), ofManager, ""},
		"no port":            {server("{listen: 127.0.0.1}"), ofAPI, "must be host:port, such as 127.0.0.1:8889"},
		"all addresses":      {server("{listen: ':8889'}"), ofAPI, ":8889 is reachable from other hosts, and tokens and payloads would cross the network in clear text"},
		"another address":    {server("{listen: 10.0.0.1:8889}"), ofAPI, "set gateway.tls.cert_file and gateway.tls.key_file, or listen on 127.0.0.1:8889"},
		"on this machine":    {server("{listen: 'localhost:8889'}"), ofAPI, ""},
		"no key":             {server("{listen: ':8889', tls: {cert_file: " + certFile + "}}"), ofAPI, "missing gateway.tls.key_file"},
		"no certificate":     {server("{listen: ':8889', tls: {key_file: " + keyFile + "}}"), ofAPI, "missing gateway.tls.cert_file"},
		"another's key":      {server("{listen: ':8889', tls: {cert_file: " + certFile + ", key_file: " + otherKey + "}}"), ofAPI, "private key does not match"},
		"TLS":                {server("{listen: ':8889', tls: {cert_file: " + certFile + ", key_file: " + keyFile + "}}"), ofAPI, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "a.token", token)
			_, err := loadAs(dir, test.content, test.without)
			switch {
			case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %q", err, test.want)
			case err != nil && (strings.Contains(err.Error(), token[12:]) || strings.Contains(err.Error(), "u:p@")):
				t.Errorf("the message contains a secret: %v", err)
			}
		})
	}
}

func TestGatewayWarnings(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	dir := t.TempDir()
	write(t, dir, "a.token", identity.NewToken())
	withDB := strings.Replace(atGateway, "  mode: gateway\n", "  mode: gateway\n  db: {uri: 'mysql://u@db/d', password_file: /nowhere}\n", 1)
	c, err := loadAs(dir, withDB, ofManager)
	if err != nil {
		t.Fatal("a file that the manager does not need is read: ", err)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "manager.db.uri: not needed, since manager.mode is gateway") {
		t.Errorf("%q", w)
	}
	if c.Store.URI != "" {
		t.Errorf("the manager has the database's address")
	}
	for name, left := range map[string]time.Duration{"ended at": -time.Hour, "ends at": 24 * time.Hour, "": 100 * 24 * time.Hour, "begins at": 900 * time.Hour} {
		certFile, keyFile := ca.Issue(t, "c", time.Now().Add(left))
		c, err := loadAs(dir, minimal+"gateway: {listen: ':1', tls: {cert_file: "+certFile+", key_file: "+keyFile+"}}", ofAPI)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			continue
		}
		if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "gateway.tls.cert_file: "+certFile+" "+name) {
			t.Errorf("%v left: %q", left, w)
		}
	}
}

// What needs a restart says so. The tokens and certificates themselves are read
// again while the program runs.
func TestDiffOfGateway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "a.token", identity.NewToken())
	before, err := loadAs(dir, atGateway, ofManager)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.token", identity.NewToken())
	after, err := loadAs(dir, atGateway+"gateway: {max_requests: 7}\n", ofManager, "TASKER_MANAGER_GATEWAY_ADDRESSES=https://g2:8889")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Difference{Restart: []string{"manager.gateway.addresses", "gateway.max_requests"}}
	if diff := cmp.Diff(want, before.Diff(after)); diff != "" {
		t.Error(diff)
	}
}
