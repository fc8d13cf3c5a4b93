package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// TestWrongInput lists the messages: each names where the mistake is and what to
// do. DIR stands for the directory of the file.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	const at = "DIR/test.config.yaml:6: " // the line that follows the minimal file
	for name, test := range map[string]struct {
		content string // added to the minimal file
		environ []string
		want    []string
	}{
		"unknown key": {"api: {prot: 1}", nil, []string{
			at + "unknown key \"api.prot\": did you mean \"api.port\"?",
		}},
		"unknown section": {"managre: {}", nil, []string{at + "unknown key \"managre\": did you mean \"manager\"?"}},
		"unknown, without a suggestion": {"something_else_altogether: 1", nil, []string{
			at + `unknown key "something_else_altogether"`,
		}},
		"a value for a section": {"api: 5", nil, []string{at + "invalid api: must be a mapping of keys to values"}},
		"a section for a value": {"api: {port: {x: 1}}", nil, []string{
			at + "invalid api.port: must be a whole number 0-65535, got a mapping",
		}},
		"set twice": {"api: {port: 1, Port: 2}", nil, []string{at + `duplicate key "api.port"`}},
		"several at once": {"api: {port: 70000, listen: 5, wait_for_endpoints_timeout: soon, insecure: maybe}\nlog: {level: loud}", nil, []string{
			at + "invalid api.listen: must be text, got a number: put it in quotes",
			at + "invalid api.port: must be a whole number 0-65535, got 70000",
			at + `invalid api.wait_for_endpoints_timeout: must be seconds, or a duration such as 1m30s, got "soon"`,
			at + `invalid api.insecure: must be true or false, got "maybe"`,
			`DIR/test.config.yaml:7: invalid log.level: must be one of debug, info, warn, error, got "loud"`,
		}},
		"a negative duration": {"api: {publish_timeout: -1}", nil, []string{
			at + "invalid api.publish_timeout: must be 1ms-10s, got -1",
		}},
		"no finite duration": {"api: {publish_timeout: .inf}", nil, []string{
			at + "invalid api.publish_timeout: must be seconds, or a duration such as 1m30s, got .inf",
		}},
		"environment": {"", []string{"TASKER_API_PORT=abc"}, []string{
			`TASKER_API_PORT: invalid api.port: must be a whole number 0-65535, got "abc"`,
		}},
		"unknown variables": {"", []string{"TASKER_API_PRT=1", "TASKER_X=secret"}, []string{
			`TASKER_API_PRT: unknown variable: did you mean "TASKER_API_PORT"?`,
			"TASKER_X: unknown variable",
		}},
		"lease": {"", []string{"TASKER_MANAGER_LEASE=3"}, []string{
			"TASKER_MANAGER_LEASE: invalid manager.lease: must be at least twice manager.heartbeat (2s), got 3s",
		}},
		"lost before the lease ends": {"reconcile: {lost_after: 5}", nil, []string{
			at + "invalid reconcile.lost_after: must be at least manager.lease (8s), got 5s",
		}},
		"open to others": {"api: {listen: 0.0.0.0}", nil, []string{
			at + "invalid api.listen: 0.0.0.0 is reachable from other hosts, and the API has no token: " +
				"listen on 127.0.0.1, set api.token_file or api.access_file, or set api.insecure: true to let anybody run tasks",
		}},
		"listen with a port": {"api: {listen: '127.0.0.1:80'}", nil, []string{
			at + `invalid api.listen: must be an address or host name without a port (see api.port), got "127.0.0.1:80"`,
		}},
		"scheme": {"", []string{"TASKER_MANAGER_DB_URI=postgres://u:hunter2@h/d"}, []string{
			"TASKER_MANAGER_DB_URI: invalid manager.db.uri: must start with mysql:// or sqlite://",
		}},
		"a password that is not encoded": {"", []string{"TASKER_MANAGER_DB_URI=mysql://u:1/hunter2@h/d"}, []string{
			"TASKER_MANAGER_DB_URI: invalid manager.db.uri: malformed URI: percent-encode special characters in the user and password, such as %40 for @",
		}},
		"a list of addresses": {"", []string{"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://a,amqp://b:99999"}, []string{
			"TASKER_MANAGER_MESSAGE_QUEUE_URI: invalid manager.message_queue.uri: address 2: port must be 1-65535",
		}},
		"management with a user": {"rabbitmq: {management_uri: 'http://u:hunter2@h'}", nil, []string{
			at + "invalid rabbitmq.management_uri: must not name a user: set rabbitmq.user and rabbitmq.password_file",
		}},
		"a number as a password": {"rabbitmq: {password: 12345}", nil, []string{
			at + "invalid rabbitmq.password: must be text, got a number: put it in quotes",
		}},
		"a password that YAML reads as something else": {"rabbitmq: {password: !!int hunter2}", nil, []string{
			at + "invalid rabbitmq.password: cannot be read: cannot decode !!str a value as a !!int",
		}},
		"task types, none": {"", []string{"TASKER_TASK_TYPES=[]"}, []string{
			"TASKER_TASK_TYPES: invalid task_types: must name at least one task type, such as worker",
		}},
		"task types, wrong": {"", []string{`TASKER_TASK_TYPES=[worker, worker, a.b, nope, [], {handler: worker}, {name: w, handler: worker, concurency: 1, timeout: 0, retry: [x], retention: 30s, settings: {a: 1}}, {name: v, handler: sleep, concurrency: 0, priority: 10}, metrics]`}, []string{
			`TASKER_TASK_TYPES: duplicate task type "worker" in task_types[1]`,
			`TASKER_TASK_TYPES: task_types[2]: invalid task type "a.b": must be 1 to 64 letters, digits, '_' or '-', starting with a letter or digit`,
			`TASKER_TASK_TYPES: task_types[3]: task type nope: unknown handler "nope": the handlers are ` + strings.Join(builtin.Catalog().Names(), ", "),
			"TASKER_TASK_TYPES: invalid task_types[4]: must be a name, or a mapping with a name",
			"TASKER_TASK_TYPES: missing task_types[5].name",
			`TASKER_TASK_TYPES: unknown key "task_types[6].concurency": did you mean "concurrency"?`,
			"TASKER_TASK_TYPES: invalid task_types[6].timeout: must be 1ms-87600h, got 0",
			`TASKER_TASK_TYPES: invalid task_types[6].retry: interval 1: must be seconds, or a duration such as "1m30s", got "x"`,
			`TASKER_TASK_TYPES: invalid task_types[6].retention: must be forever, or 1m-87600h, got "30s"`,
			"TASKER_TASK_TYPES: invalid task_types[7].concurrency: must be a whole number 1-1024, got 0",
			"TASKER_TASK_TYPES: invalid task_types[7].priority: must be a whole number 0-9, got 10",
			`TASKER_TASK_TYPES: task_types[8]: invalid task type "metrics": reserved name: choose another`,
		}},
		"addresses of different virtual hosts": {"", []string{"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://u@h1/a,amqp://u@h2/a,amqp://u@h3/b"}, []string{
			`TASKER_MANAGER_MESSAGE_QUEUE_URI: invalid manager.message_queue.uri: address 3: virtual host must be "a", as in address 1, got "b"`,
		}},
		"settings": {"", []string{`TASKER_TASK_TYPES=[{name: worker, settings: {duratoin: 1}}]`}, []string{
			`TASKER_TASK_TYPES: task_types[0]: task type worker: handler "worker": unknown setting "duratoin": the settings are duration`,
		}},
		"several settings": {"", []string{`TASKER_TASK_TYPES=[{name: a, handler: exec, settings: {comand: x, environment: {A: 1}}}, ` +
			`{name: b, handler: exec, settings: {command: [echo, "${x}", "${y}"], parameters: {x: {type: text, max_length: 0}, z: {pattern: "["}}, ` +
			`umask: "027", stdin: file, result: xml, nice: 99, success_codes: [0, 256], environment: {TASKER_A: x, "B=": y}}}, ` +
			`{name: c, handler: http, settings: {rpc: true, url: "http://x", timeout: 0, max_redirects: -1}}, ` +
			`{name: d, handler: service, settings: {processes: 0, concurrency: 0, stop_grace: 0, directory: d}}]`}, []string{
			`TASKER_TASK_TYPES: task_types[0]: task type a: handler "exec": unknown setting "comand": the settings are command, directory, environment, environment_file, group, limits, log, max_output, nice, ` +
				`parameters, pass_environment, permanent_codes, reboot_code, reboot_command, result, stderr, stdin, stop_grace, success_codes, umask, user`,
			`TASKER_TASK_TYPES: task_types[0]: task type a: handler "exec": setting "environment.A": must be a string, got number`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "parameters": "x": type must be string, integer, number or boolean, got "text"`,
			"TASKER_TASK_TYPES: task_types[1]: task type b: handler \"exec\": setting \"parameters\": \"z\": invalid pattern: error parsing regexp: missing closing ]: `[`",
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "command": argument 2: unknown parameter ${y}: the parameters are x, z (write $${ for a literal "${")`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "stdin": must be payload or none, got "file"`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "result": must be auto, json, text or none, got "xml"`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "success_codes": an exit code must be 0 to 255, got 256`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "nice": must be -20 to 19, got 99`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "environment": "B=": invalid name of a variable`,
			`TASKER_TASK_TYPES: task_types[1]: task type b: handler "exec": setting "environment": "TASKER_A": names that begin with TASKER_ are reserved`,
			`TASKER_TASK_TYPES: task_types[2]: task type c: handler "http": setting "max_redirects": must be 0 to 20, got -1`,
			`TASKER_TASK_TYPES: task_types[2]: task type c: handler "http": setting "timeout": must be more than 0`,
			`TASKER_TASK_TYPES: task_types[2]: task type c: handler "http": setting "url": must not be set with rpc: the payload has it`,
			`TASKER_TASK_TYPES: task_types[3]: task type d: handler "service": setting "processes": must be 1 to 256, got 0`,
			`TASKER_TASK_TYPES: task_types[3]: task type d: handler "service": setting "concurrency": must be 1 to 1024, got 0`,
			`TASKER_TASK_TYPES: task_types[3]: task type d: handler "service": setting "command": must be a program and its arguments, such as [python3, /opt/handler.py]`,
			`TASKER_TASK_TYPES: task_types[3]: task type d: handler "service": setting "directory": must be an absolute path, got "d"`,
			`TASKER_TASK_TYPES: task_types[3]: task type d: handler "service": setting "stop_grace": must be more than 0s and at most 6s, got 0s`,
		}},
		"invalid YAML": {"\t- :", nil, []string{
			"DIR/test.config.yaml: invalid YAML: line 6: found character that cannot start any token",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "test.config.yaml", minimal+test.content)
			_, err := config.Load(config.Options{Mode: "test", Dir: dir, Environ: test.environ})
			var wrong *config.Error
			if !errors.As(err, &wrong) {
				t.Fatalf("got %v", err)
			}
			for i, p := range wrong.Problems {
				wrong.Problems[i] = strings.ReplaceAll(p, dir, "DIR")
			}
			if diff := cmp.Diff(test.want, wrong.Problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequiredKeys(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "")
	want := `configuration: 3 problems:
  missing task_types: name at least one task type, such as worker
  missing manager.db.uri: set it, or TASKER_MANAGER_DB_URI, to mysql://user@host:3306/database
  missing manager.message_queue.uri: set it, or TASKER_MANAGER_MESSAGE_QUEUE_URI, to amqp://user@host:5672/vhost`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	const password = "hunter2hunter2"
	token := strings.Repeat("x", 32)
	for name, test := range map[string]struct {
		content string
		mode    os.FileMode
		key     string
		want    string // of the message, "" for none
	}{
		"a token":               {token, 0o640, "api.token_file", ""},
		"a short token":         {token[1:], 0o600, "api.token_file", "invalid api.token_file: the token must have at least 32 characters, got 31: openssl rand -hex 32"},
		"a token with a blank":  {token + " x", 0o600, "api.token_file", "invalid api.token_file: the token must be one line of printable ASCII characters without blanks"},
		"two lines":             {token + "\n" + token, 0o600, "api.token_file", "invalid api.token_file: the token must be one line of printable ASCII characters without blanks"},
		"empty":                 {"\n", 0o600, "api.token_file", "invalid api.token_file: DIR/secret is empty"},
		"world-readable":        {token, 0o644, "api.token_file", "invalid api.token_file: DIR/secret is accessible to every user (its mode is 0644): chmod o-rwx DIR/secret"},
		"too large":             {strings.Repeat("x", 1<<17), 0o600, "api.token_file", "invalid api.token_file: DIR/secret is too large for a secret"},
		"a password beside one": {password, 0o600, "manager.db.password_file", "invalid manager.db.uri: must have no password beside password_file"},
		"a broker's beside one": {password, 0o600, "manager.message_queue.password_file", "invalid manager.message_queue.uri: must have no password beside password_file"},
		"an administrator's":    {password, 0o600, "rabbitmq.password_file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			secret := write(t, dir, "secret", test.content)
			if err := os.Chmod(secret, test.mode); err != nil {
				t.Fatal(err)
			}
			c, err := loadText(t, minimal, config.EnvName(test.key)+"="+secret)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && c.API.Token+c.RabbitAdmin.Password != test.content:
				t.Errorf("missing secret: %q %q", c.API.Token, c.RabbitAdmin.Password)
			case test.want != "" && (err == nil || !strings.HasSuffix(strings.ReplaceAll(err.Error(), dir, "DIR"), test.want)):
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		if _, err := loadText(t, minimal, "TASKER_API_TOKEN_FILE="+t.TempDir()); err == nil || !strings.HasSuffix(err.Error(), "is not a regular file") {
			t.Errorf("a directory: got %v", err)
		}
		missing := filepath.Join(t.TempDir(), "missing")
		if _, err := loadText(t, minimal, "TASKER_API_TOKEN_FILE="+missing); err == nil || !strings.HasSuffix(err.Error(), missing+" does not exist") {
			t.Errorf("a missing one: got %v", err)
		}
	})
	t.Run("both passwords of the administrator", func(t *testing.T) {
		t.Parallel()
		secret := write(t, t.TempDir(), "secret", password)
		_, err := loadText(t, minimal, "TASKER_RABBITMQ_PASSWORD=x", "TASKER_RABBITMQ_PASSWORD_FILE="+secret)
		if want := "invalid rabbitmq.password_file: must not be set beside rabbitmq.password"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no user for the password", func(t *testing.T) {
		t.Parallel()
		secret := write(t, t.TempDir(), "secret", password)
		_, err := loadText(t, minimal, "TASKER_MANAGER_DB_URI=mysql://h/d", "TASKER_MANAGER_DB_PASSWORD_FILE="+secret)
		if err == nil || !strings.Contains(err.Error(), "must name the user of password_file") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", strings.Replace(minimal, "manager:", "manager:\n  spool_dir: ''", 1))
	_, err := config.Load(config.Options{Mode: "test", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "invalid manager.spool_dir: must be a directory on a disk of this machine") {
		t.Errorf("got %v", err)
	}
}
