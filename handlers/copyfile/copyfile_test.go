package copyfile_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/copyfile"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// copies is the handler with its directories.
type copies struct {
	handlers.Handler
	in, out string
}

func newCopies(t *testing.T, settings handlers.Settings) copies {
	t.Helper()
	c := copies{in: filepath.Join(t.TempDir(), "in"), out: filepath.Join(t.TempDir(), "out")}
	for _, dir := range []string{c.in, c.out} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all := handlers.Settings{"sources": []any{"/nowhere", c.in}, "destinations": []any{c.out}}
	maps.Copy(all, settings)
	c.Handler = handlertest.Make(t, copyfile.New, all)
	return c
}

func (c copies) request(t *testing.T, source, destination string) *handlers.Request {
	t.Helper()
	payload, err := json.Marshal(map[string]string{"source": source, "destination": destination})
	if err != nil {
		t.Fatal(err)
	}
	return &handlers.Request{Payload: payload}
}

func (c copies) do(t *testing.T, source, destination string) (handlers.Result, error) {
	t.Helper()
	return c.Handle(t.Context(), c.request(t, source, destination))
}

// abc is the SHA-256 of "abc".
const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

// wantOut asserts that there is a destination b with that content, or none if it is
// empty, and nothing else.
func (c copies) wantOut(t *testing.T, content string) {
	t.Helper()
	text, err := os.ReadFile(c.out + "/b")
	if string(text) != content || (err == nil) != (content != "") {
		t.Errorf("b has %d bytes, %v; want %d", len(text), err, len(content))
	}
	if names := handlertest.List(t, c.out); len(names) > 1 || len(names) == 1 && names[0] != "b" {
		t.Errorf("there are %q", names)
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings  handlers.Settings
		before    string // the destination's content, mode 0640
		want      os.FileMode
		unchanged bool
	}{
		"the source's mode":    {nil, "", 0o640, false},
		"a mode":               {handlers.Settings{"mode": "0604"}, "", 0o604, false},
		"no more than allowed": {handlers.Settings{"max_size": 3}, "", 0o640, false},
		"it exists":            {nil, "abc", 0o640, true},
		"replace another":      {handlers.Settings{"overwrite": true}, "abd", 0o640, false},
		"replace the same":     {handlers.Settings{"overwrite": true}, "abc", 0o640, true},
	} {
		c := newCopies(t, test.settings)
		source, destination := c.in+"/a", c.out+"/b"
		handlertest.WriteFile(t, source, "abc", 0o640)
		if test.before != "" {
			handlertest.WriteFile(t, destination, test.before, 0o640)
		}
		result, err := c.do(t, source, destination)
		want := fmt.Sprintf(`{"source":%q,"destination":%q,"bytes":3,"sha256":%q,"unchanged":%t}`, source, destination, abc, test.unchanged)
		if err != nil || string(result) != want {
			t.Errorf("%s: got %s, %v; want %s", name, result, err, want)
		}
		c.wantOut(t, "abc")
		if info, err := os.Stat(destination); err != nil || info.Mode() != test.want {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestRefusesToCopy(t *testing.T) {
	t.Parallel()
	const exists = "exists with other content or mode, and overwrite is not set"
	for name, test := range map[string]struct {
		settings     handlers.Settings
		before, want string
	}{
		"more than allowed": {handlers.Settings{"max_size": 2}, "", "has 3 bytes, more than max_size (2)"},
		"another exists":    {nil, "abd", exists},
		"a longer exists":   {nil, "abcd", exists},
		"with another mode": {handlers.Settings{"mode": "0600"}, "abc", exists},
	} {
		c := newCopies(t, test.settings)
		handlertest.WriteFile(t, c.in+"/a", "abc", 0o640)
		if test.before != "" {
			handlertest.WriteFile(t, c.out+"/b", test.before, 0o640)
		}
		result, err := c.do(t, c.in+"/a", c.out+"/b")
		if err == nil || !strings.Contains(err.Error(), test.want) || !handlers.IsPermanent(err) || result != nil {
			t.Errorf("%s: got %s, %v; want a permanent error with %q", name, result, err, test.want)
		}
		c.wantOut(t, test.before)
	}
}

// addLinks adds directories, a file, and links that lead inside and outside.
func (c copies) addLinks(t *testing.T) (outside, secret string) {
	t.Helper()
	outside = t.TempDir()
	secret = filepath.Join(outside, "secret")
	handlertest.WriteFile(t, secret, "secret", 0o600)
	handlertest.WriteFile(t, filepath.Join(c.in, "a"), "abc", 0o600)
	for _, link := range [][2]string{
		{secret, filepath.Join(c.in, "link")},
		{outside, filepath.Join(c.in, "dir")},
		{"../..", filepath.Join(c.in, "up")},
		{"a", filepath.Join(c.in, "inside")},
		{secret, filepath.Join(c.out, "link")},
		{outside, filepath.Join(c.out, "dir")},
	} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{c.in, c.out} {
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return outside, secret
}

// TestStaysInside: whatever the payload names and wherever links lead, nothing outside
// the directories is read or written.
func TestStaysInside(t *testing.T) {
	t.Parallel()
	c := newCopies(t, handlers.Settings{"overwrite": true})
	outside, secret := c.addLinks(t)
	in, out := c.in+"/a", c.out+"/b"
	for name, test := range map[string]struct{ source, destination, want string }{
		"no source":             {"", out, `missing "source"`},
		"no destination":        {in, "", `missing "destination"`},
		"a relative source":     {"a", out, `must be the absolute path of a file`},
		"up":                    {c.in + "/../in/a", out, `must be the absolute path of a file`},
		"up, out":               {in, c.out + "/../../b", `must be the absolute path of a file`},
		"a directory's slash":   {in, out + "/", `must be the absolute path of a file`},
		"elsewhere":             {secret, out, "must be inside /nowhere or "},
		"to elsewhere":          {in, filepath.Join(outside, "b"), "must be inside "},
		"the other way":         {out, in, "must be inside "},
		"a name that begins so": {c.in + "side/a", out, "must be inside "},
		"the directory itself":  {c.in, out, "must be inside "},
		"a link":                {c.in + "/link", out, "path escapes from parent"},
		"through a link":        {c.in + "/dir/secret", out, "path escapes from parent"},
		"through a link, up":    {c.in + "/up/in/a", out, "path escapes from parent"},
		"over a link":           {in, c.out + "/link", "must be a regular file, not a symbolic link"},
		"into a link":           {in, c.out + "/dir/b", "path escapes from parent"},
		"a directory":           {c.in + "/sub", out, "must be a regular file, not a directory"},
		"over a directory":      {in, c.out + "/sub", "must be a regular file, not a directory"},
		"NUL":                   {in + "\x00", out, "invalid argument"},
		"none":                  {c.in + "/none", out, "no such file"},
		"into none":             {in, c.out + "/none/b", "no such file"},
	} {
		result, err := c.do(t, test.source, test.destination)
		if err == nil || !strings.Contains(err.Error(), test.want) || result != nil {
			t.Errorf("%s: got %s, %v; want %s", name, result, err, test.want)
		}
	}
	if _, err := c.do(t, c.in+"/inside", out); err != nil {
		t.Errorf("a link that stays inside: %v", err)
	}
	if got := handlertest.List(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside are %q", got)
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("the secret is %q, %v", text, err)
	}
	if got := handlertest.List(t, c.out); !slices.Equal(got, []string{"b", "dir", "link", "sub"}) {
		t.Errorf("there are %q", got)
	}
}

// TestHardLinks: the other names of a file may be outside of sources.
func TestHardLinks(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	secret := filepath.Join(t.TempDir(), "secret")
	handlertest.WriteFile(t, secret, "abc", 0o600)
	if err := os.Link(secret, c.in+"/a"); err != nil {
		t.Skip(err)
	}
	if result, err := c.do(t, c.in+"/a", c.out+"/b"); err == nil || !handlers.IsPermanent(err) || !strings.Contains(err.Error(),
		"has hard links") {
		t.Errorf("got %s, %v", result, err)
	}
	allowing := handlertest.Make(t, copyfile.New, handlers.Settings{"sources": []any{c.in}, "destinations": []any{c.out}, "hard_links": true})
	if _, err := allowing.Handle(t.Context(), c.request(t, c.in+"/a", c.out+"/b")); err != nil {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	big(t, c.in+"/big")
	rec := handlertest.NewRecorder()
	req := c.request(t, c.in+"/big", c.out+"/b")
	req.Reporter = rec
	if _, err := c.Handle(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if got := rec.Progresses(); len(got) < 2 || got[0] != "262144/1048576 bytes" || got[len(got)-1] != "1048576/1048576 bytes" {
		t.Errorf("got %v", got)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	with := func(name string, value any) handlers.Settings {
		s := handlers.Settings{"sources": []any{"/in"}, "destinations": []any{"/out"}}
		s[name] = value
		return s
	}
	handlertest.Refuses(t, copyfile.New, map[string]handlers.Settings{
		`setting "sources" is required`:      with("sources", []any{}),
		`setting "destinations" is required`: with("destinations", nil),
		`setting "sources": must be absolute paths, without . and .. and a final /, got "in"`: with("sources", []any{"in"}),
		`and a final /, got "/in/../a"`: with("sources", []any{"/in/../a"}),
		`setting "destinations": must be absolute paths, without . and .. and a final /, got "/out/"`: with("destinations", []any{"/out/"}),
		`setting "mode": must be an octal number in quotes, such as "0644", got 420`:                  with("mode", 420),
		`setting "mode": must be an octal number from "000" to "777", got "0648"`:                     with("mode", "0648"),
		`setting "mode": must be an octal number from "000" to "777", got "4755"`:                     with("mode", "4755"),
		`setting "max_size": invalid size "lots"`:                                                     with("max_size", "lots"),
		`setting "overwrite": must be true or false, got string`:                                      with("overwrite", "yes"),
		`unknown setting "source": the settings are destinations, hard_links, max_size, mo`:           with("source", "/in"),
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	c := newCopies(t, nil)
	checker, ok := handlers.Find[handlers.Checker](c.Handler)
	if !ok {
		t.Fatal("not a Checker")
	}
	if err := checker.Check(); err == nil || !strings.Contains(err.Error(), "/nowhere does not exist") || strings.Contains(err.Error(), c.in) {
		t.Errorf("got %v", err)
	}
}
