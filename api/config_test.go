package api_test

import (
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
)

func TestConfigValidate(t *testing.T) {
	types := func(names ...string) (tts []tasker.TaskType) {
		for _, name := range names {
			tts = append(tts, tasker.TaskType{Name: name})
		}
		return tts
	}
	for name, tc := range map[string]struct {
		cfg  api.Config
		want []string // in the error; none means valid
	}{
		"zero":                   {api.Config{}, nil},
		"localhost":              {api.Config{Listen: "localhost"}, nil},
		"IPv6 loopback":          {api.Config{Listen: "::1"}, nil},
		"IPv6 loopback, quoted":  {api.Config{Listen: "[::1]"}, nil},
		"other loopback":         {api.Config{Listen: "127.3.2.1"}, nil},
		"mapped loopback":        {api.Config{Listen: "::ffff:127.0.0.1"}, nil},
		"everywhere":             {api.Config{Listen: "0.0.0.0"}, []string{"api.listen", "api.token_file", "127.0.0.1", "api.insecure"}},
		"everywhere, IPv6":       {api.Config{Listen: "::"}, []string{"api.listen", "api.token_file", "api.insecure"}},
		"an address":             {api.Config{Listen: "10.0.0.1"}, []string{"api.token_file"}},
		"a name":                 {api.Config{Listen: "tasker.example"}, []string{"api.token_file"}},
		"a name like localhost":  {api.Config{Listen: "localhost.example"}, []string{"api.token_file"}},
		"everywhere, token":      {api.Config{Listen: "0.0.0.0", Token: "s3cret"}, nil},
		"everywhere, insecure":   {api.Config{Listen: "0.0.0.0", Insecure: true}, nil},
		"with a port":            {api.Config{Listen: "127.0.0.1:8888"}, []string{"api.listen", "api.port"}},
		"no address":             {api.Config{Listen: "http://localhost", Insecure: true}, []string{"api.listen"}},
		"port":                   {api.Config{Port: 65536}, []string{"api.port", "65536"}},
		"negative port":          {api.Config{Port: -1}, []string{"api.port"}},
		"token with a line end":  {api.Config{Token: "s3cret\n"}, []string{"api.token_file"}},
		"TLS":                    {api.Config{TLS: api.TLS{CertFile: "a", KeyFile: "b", ClientCAFile: "c"}}, nil},
		"a certificate, no key":  {api.Config{TLS: api.TLS{CertFile: "a"}}, []string{"api.tls", "cert_file and key_file"}},
		"a key, no certificate":  {api.Config{TLS: api.TLS{KeyFile: "a"}}, []string{"api.tls", "cert_file and key_file"}},
		"clients' authorities":   {api.Config{TLS: api.TLS{ClientCAFile: "a"}}, []string{"api.tls", "client_ca_file needs cert_file"}},
		"negative wait":          {api.Config{WaitForEndpoints: -1}, []string{"api.wait_for_endpoints_timeout"}},
		"negative body":          {api.Config{MaxBody: -1}, []string{"api.max_body"}},
		"negative concurrency":   {api.Config{MaxConcurrent: -1}, []string{"api.max_concurrent"}},
		"negative shutdown":      {api.Config{ShutdownTimeout: -1}, []string{"api.shutdown_timeout"}},
		"task types":             {api.Config{TaskTypes: types("worker", "backup")}, nil},
		"task type twice":        {api.Config{TaskTypes: types("worker", "worker")}, []string{"task_types", "twice"}},
		"task type malformed":    {api.Config{TaskTypes: types("a.b")}, []string{"task_types", `"a.b"`}},
		"task type reserved":     {api.Config{TaskTypes: types("v1")}, []string{"task_types", "v1"}},
		"several errors at once": {api.Config{Port: -1, MaxBody: -1}, []string{"api.port", "api.max_body"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.cfg.Validate()
			if (err != nil) != (len(tc.want) > 0) {
				t.Fatalf("error %v", err)
			}
			for _, text := range tc.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not contain %q", err, text)
				}
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%q holds the token", err)
			}
			if _, errNew := api.New(tc.cfg, newHarness(t).deps()); (errNew != nil) != (err != nil) {
				t.Errorf("New returned %v", errNew)
			}
		})
	}
}

func TestNewNeedsItsDeps(t *testing.T) {
	if _, err := api.New(testConfig(), api.Deps{}); err == nil {
		t.Error("a server of nothing")
	}
}
