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

// TestWrongInput holds the messages: each names where the mistake is and what
// to do. DIR stands for the directory of the file.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	const at = "DIR/test.config.yaml:6: " // the line that follows the minimal file
	for name, test := range map[string]struct {
		content string // added to the minimal file
		environ []string
		want    []string
	}{
		"unknown key": {"api: {prot: 1}", nil, []string{
			at + "unknown key api.prot; did you mean api.port?",
		}},
		"unknown section": {"managre: {}", nil, []string{at + "unknown key managre; did you mean manager?"}},
		"unknown, and nothing is near": {"something_else_altogether: 1", nil, []string{
			at + "unknown key something_else_altogether",
		}},
		"a value for a section": {"api: 5", nil, []string{at + "api takes a mapping of keys to values"}},
		"a section for a value": {"api: {port: {x: 1}}", nil, []string{
			at + "api.port is a mapping: give a whole number from 0 to 65535",
		}},
		"set twice": {"api: {port: 1, Port: 2}", nil, []string{at + "api.port is set twice"}},
		"several at once": {"api: {port: 70000, listen: 5, wait_for_endpoints_timeout: soon, insecure: maybe}\nlog: {level: loud}", nil, []string{
			at + "api.listen takes text, not a number: put it in quotes",
			at + "api.port is 70000: give a whole number from 0 to 65535",
			at + `api.wait_for_endpoints_timeout is "soon": give seconds, or a duration such as 1m30s`,
			at + `api.insecure is "maybe": give true or false`,
			`DIR/test.config.yaml:7: log.level is "loud": give one of debug, info, warn, error`,
		}},
		"a negative duration": {"api: {publish_timeout: -1}", nil, []string{
			at + "api.publish_timeout is -1: give a duration from 1ms to 10s",
		}},
		"no finite duration": {"api: {publish_timeout: .inf}", nil, []string{
			at + "api.publish_timeout is .inf: give seconds, or a duration such as 1m30s",
		}},
		"environment": {"", []string{"TASKER_API_PORT=abc"}, []string{
			`TASKER_API_PORT: api.port is "abc": give a whole number from 0 to 65535`,
		}},
		"unknown variables": {"", []string{"TASKER_API_PRT=1", "TASKER_X=secret"}, []string{
			"TASKER_API_PRT: unknown variable: no key of the configuration has this name; did you mean TASKER_API_PORT?",
			"TASKER_X: unknown variable: no key of the configuration has this name",
		}},
		"lease": {"", []string{"TASKER_MANAGER_LEASE=3"}, []string{
			"TASKER_MANAGER_LEASE: manager.lease is 3s: it must be at least twice manager.heartbeat, which is 2s",
		}},
		"lost before the lease ends": {"reconcile: {lost_after: 5}", nil, []string{
			at + "reconcile.lost_after is 5s: it must not be less than manager.lease, which is 8s",
		}},
		"open to others": {"api: {listen: 0.0.0.0}", nil, []string{
			at + "api.listen is 0.0.0.0, where others can reach the API, and no token keeps them out: " +
				"listen on 127.0.0.1, or name a file with a bearer token in api.token_file, or say api.insecure: true if anybody may run tasks",
		}},
		"listen with a port": {"api: {listen: '127.0.0.1:80'}", nil, []string{
			at + `api.listen is "127.0.0.1:80": give an address without a port, such as 127.0.0.1, :: or a host name; the port belongs in api.port`,
		}},
		"scheme": {"", []string{"TASKER_MANAGER_DB_URI=postgres://u:hunter2@h/d"}, []string{
			"TASKER_MANAGER_DB_URI: manager.db.uri has the wrong scheme: it begins with mysql:// or sqlite://",
		}},
		"a password that is not encoded": {"", []string{"TASKER_MANAGER_DB_URI=mysql://u:1/hunter2@h/d"}, []string{
			"TASKER_MANAGER_DB_URI: manager.db.uri is no valid URI; special characters in a user or password must be percent-encoded, such as %40 for @",
		}},
		"a list of addresses": {"", []string{"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://a,amqp://b:99999"}, []string{
			"TASKER_MANAGER_MESSAGE_QUEUE_URI: manager.message_queue.uri (number 2) has a port that is none: give one from 1 to 65535",
		}},
		"management with a user": {"rabbitmq: {management_uri: 'http://u:hunter2@h'}", nil, []string{
			at + "rabbitmq.management_uri has a user: give it in rabbitmq.user and rabbitmq.password_file instead",
		}},
		"a number as a password": {"rabbitmq: {password: 12345}", nil, []string{
			at + "rabbitmq.password takes text, not a number: put it in quotes",
		}},
		"a password that YAML reads as something else": {"rabbitmq: {password: !!int hunter2}", nil, []string{
			at + "rabbitmq.password has a value that cannot be read: cannot decode !!str a value as a !!int",
		}},
		"task types, none": {"", []string{"TASKER_TASK_TYPES=[]"}, []string{
			"TASKER_TASK_TYPES: task_types is empty: name at least one task type, such as worker",
		}},
		"task types, wrong": {"", []string{`TASKER_TASK_TYPES=[worker, worker, a.b, nope, [], {handler: worker}, {name: w, handler: worker, concurency: 1, timeout: 0, retry: [x], retention: 30s, settings: {a: 1}}, {name: v, handler: sleep, concurrency: 0}, metrics]`}, []string{
			"TASKER_TASK_TYPES: task_types[1]: the task type worker is configured twice",
			`TASKER_TASK_TYPES: task_types[2]: task type "a.b" is malformed: it takes 1 to 64 letters, digits, '_' or '-', the first a letter or digit`,
			`TASKER_TASK_TYPES: task_types[3]: task type nope: unknown handler "nope": the handlers are ` + strings.Join(builtin.Catalog().Names(), ", "),
			"TASKER_TASK_TYPES: task_types[4] takes a name, or a mapping with a name",
			"TASKER_TASK_TYPES: task_types[5] has no name",
			"TASKER_TASK_TYPES: task_types[6].concurency is an unknown key; did you mean concurrency?",
			"TASKER_TASK_TYPES: task_types[6].timeout is 0: give a duration from 1ms to 87600h",
			`TASKER_TASK_TYPES: task_types[6].retry has the pause "x": it takes a list of pauses before each further attempt, in seconds or as 1m30s, such as [60, 10m, 1h]`,
			"TASKER_TASK_TYPES: task_types[6].retention is \"30s\": give a duration from 1m to 87600h, or forever",
			"TASKER_TASK_TYPES: task_types[7].concurrency is 0: give a whole number from 1 to 1024",
			`TASKER_TASK_TYPES: task_types[8]: task type "metrics" is a name that tasker keeps for itself: choose another`,
		}},
		"addresses of different virtual hosts": {"", []string{"TASKER_MANAGER_MESSAGE_QUEUE_URI=amqp://u@h1/a,amqp://u@h2/a,amqp://u@h3/b"}, []string{
			`TASKER_MANAGER_MESSAGE_QUEUE_URI: manager.message_queue.uri (number 3) has another virtual host than number 1, "b" instead of "a": the addresses must be nodes of one cluster`,
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
		"no YAML": {"\t- :", nil, []string{
			"DIR/test.config.yaml: it is no YAML: line 6: found character that cannot start any token",
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
  task_types is not set: name at least one task type, such as worker
  manager.db.uri is not set: give mysql://user@host:3306/database here or in TASKER_MANAGER_DB_URI
  manager.message_queue.uri is not set: give amqp://user@host:5672/vhost here or in TASKER_MANAGER_MESSAGE_QUEUE_URI`
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
		"a short token":         {token[1:], 0o600, "api.token_file", "api.token_file names a file with a token of 31 characters: give 32 or more, such as openssl rand -hex 32 makes"},
		"a token with a blank":  {token + " x", 0o600, "api.token_file", "api.token_file names a file with a token that no request can carry: give one line of letters, digits and signs, without blanks"},
		"two lines":             {token + "\n" + token, 0o600, "api.token_file", "api.token_file names a file with a token that no request can carry: give one line of letters, digits and signs, without blanks"},
		"empty":                 {"\n", 0o600, "api.token_file", "api.token_file names DIR/secret, which is empty"},
		"world-readable":        {token, 0o644, "api.token_file", "api.token_file names DIR/secret, which every user of this machine may read or change (its mode is 0644): chmod o-rwx DIR/secret"},
		"too large":             {strings.Repeat("x", 1<<17), 0o600, "api.token_file", "api.token_file names DIR/secret, which is too large for a secret"},
		"a password beside one": {password, 0o600, "manager.db.password_file", "manager.db.uri has a password, and there is a password_file too: give one of them"},
		"a broker's beside one": {password, 0o600, "manager.message_queue.password_file", "manager.message_queue.uri has a password, and there is a password_file too: give one of them"},
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
				t.Errorf("the secret is not there: %q %q", c.API.Token, c.RabbitAdmin.Password)
			case test.want != "" && (err == nil || !strings.HasSuffix(strings.ReplaceAll(err.Error(), dir, "DIR"), test.want)):
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		if _, err := loadText(t, minimal, "TASKER_API_TOKEN_FILE="+t.TempDir()); err == nil || !strings.HasSuffix(err.Error(), "which is no regular file") {
			t.Errorf("a directory: got %v", err)
		}
		missing := filepath.Join(t.TempDir(), "missing")
		if _, err := loadText(t, minimal, "TASKER_API_TOKEN_FILE="+missing); err == nil || !strings.HasSuffix(err.Error(), "names "+missing+", which does not exist") {
			t.Errorf("a missing one: got %v", err)
		}
	})
	t.Run("both passwords of the administrator", func(t *testing.T) {
		t.Parallel()
		secret := write(t, t.TempDir(), "secret", password)
		_, err := loadText(t, minimal, "TASKER_RABBITMQ_PASSWORD=x", "TASKER_RABBITMQ_PASSWORD_FILE="+secret)
		if want := "rabbitmq.password_file is set, and rabbitmq.password too: give one of them"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no user for the password", func(t *testing.T) {
		t.Parallel()
		secret := write(t, t.TempDir(), "secret", password)
		_, err := loadText(t, minimal, "TASKER_MANAGER_DB_URI=mysql://h/d", "TASKER_MANAGER_DB_PASSWORD_FILE="+secret)
		if err == nil || !strings.Contains(err.Error(), "has no user for the password") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "test.config.yaml", strings.Replace(minimal, "manager:", "manager:\n  spool_dir: ''", 1))
	_, err := config.Load(config.Options{Mode: "test", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "manager.spool_dir is empty: name a directory on a disk of this machine") {
		t.Errorf("got %v", err)
	}
}
