package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/internal/identity"
)

// A machine whose manager works over the gateway has no key of the database: its
// manager starts, the check of its configuration says so, and an API does not start.
func TestGatewayMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"production.config.yaml": "task_types: [worker]\nmanager:\n  mode: gateway\n  gateway: {addresses: 'https://g:8889', token_file: '{endpoint}.token'}\n" +
			"  message_queue: {uri: 'amqps://u:p@mq.example/v'}\n",
		"a.token": identity.NewToken() + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]struct {
		code           int
		action, output string
	}{
		"manager --endpoint a":                      {cli.ExitOK, "manager", ""},
		"manager --endpoint b":                      {cli.ExitUsage, "", "endpoint b: invalid manager.gateway.token_file: " + dir + "/b.token does not exist"},
		"manager --endpoint a --endpoint b":         {cli.ExitUsage, "", "endpoint b: "},
		"config check --programs=false":             {cli.ExitOK, "", "note: checked for managers in gateway mode, which need no manager.db; an API needs more"},
		"config check --programs=false --api=false": {cli.ExitOK, "", "note: checked for managers in gateway mode"},
		"api":         {cli.ExitUsage, "", "missing manager.db.uri"},
		"gateway":     {cli.ExitUsage, "", "missing manager.db.uri"},
		"dev":         {cli.ExitOK, "dev", ""},
		"config show": {cli.ExitOK, "", "mode: gateway"},
	} {
		o := tasker(t, nil, nil, append(strings.Fields(args), "--mode", "production", "--config", dir)...)
		if o.code != want.code || o.action != want.action || !strings.Contains(o.stdout+o.stderr, want.output) {
			t.Errorf("%s: exit %d, action %q\n%s%s", args, o.code, o.action, o.stdout, o.stderr)
		}
	}
}

func TestGatewayCommand(t *testing.T) {
	t.Parallel()
	if o := tasker(t, nil, []string{"TASKER_GATEWAY_LISTEN=127.0.0.1:0"}, "gateway"); o.code != cli.ExitOK || o.action != "gateway" ||
		o.cfg.Gateway.Listen != "127.0.0.1:0" || o.cfg.API.Token != "" {
		t.Errorf("exit %d, action %q: %s", o.code, o.action, o.stderr)
	}
	if o := tasker(t, nil, []string{"TASKER_GATEWAY_LISTEN=:8889"}, "gateway"); o.code != cli.ExitUsage ||
		!strings.Contains(o.stderr, "reachable from other hosts") {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}
