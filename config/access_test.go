package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/config"
)

const (
	accessHash = "abababababababababababababababababababababababababababababababab"
	withAccess = minimal + "api: {listen: 0.0.0.0, access_file: access.yaml}\n"
)

// accessOf returns an access file with a token that ends at a time.
func accessOf(end time.Time) string {
	return "principals:\n  alice:\n    tokens:\n      - {sha256: " + accessHash + ", note: laptop, expires: " + end.UTC().Format(time.RFC3339) + "}\n" +
		"rules:\n  - {who: [alice], may: [viewer]}\n"
}

func TestAccessFile(t *testing.T) {
	t.Parallel()
	year := time.Now().Add(365 * 24 * time.Hour)
	for name, test := range map[string]struct {
		content string
		mode    os.FileMode
		without config.Part
		want    string // empty if it is valid
	}{
		"valid, and reason to listen anywhere": {accessOf(year), 0o600, ofAPI, ""},
		"of no manager":                        {"nonsense", 0o600, ofManager | config.PartAPI, ""},
		"a mistake":                            {accessOf(year) + "rule: x\n", 0o600, ofAPI, `invalid api.access_file: DIR/access.yaml:7: unknown key "rule" in the file (did you mean "rules"?)`},
		"several":                              {"principals: {a b: {}}\nrules: 7\n", 0o600, ofAPI, "DIR/access.yaml:2: invalid rules: must be a list"},
		"for everybody to read":                {accessOf(year), 0o644, ofAPI, "invalid api.access_file: DIR/access.yaml is accessible to every user (its mode is 0644)"},
		"for its group to write":               {accessOf(year), 0o660, ofAPI, "is writable by its group"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Chmod(write(t, dir, "access.yaml", test.content), test.mode); err != nil {
				t.Fatal(err)
			}
			c, err := loadAs(dir, withAccess, test.without)
			if test.want != "" {
				if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), test.want) {
					t.Errorf("%v\nwant %s", err, test.want)
				}
				return
			}
			read := c.API.Access != nil
			if err != nil || read != (test.without == ofAPI) || c.AccessFile != dir+"/access.yaml" {
				t.Errorf("%v, %v, %q", err, c.API.Access, c.AccessFile)
			}
		})
	}
	if _, err := loadAs(t.TempDir(), withAccess, ofAPI); err == nil || !strings.Contains(err.Error(), "access.yaml does not exist") {
		t.Error(err)
	}
}

// The access file is one of those that are watched, and its change takes effect without a
// restart.
func TestAccessFileChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	year := time.Now().Add(365 * 24 * time.Hour)
	path := write(t, dir, "access.yaml", accessOf(year))
	c, err := loadAs(dir, withAccess, ofAPI)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(c.Files().Paths(), " "), path) {
		t.Errorf("%q are watched", c.Files().Paths())
	}
	write(t, dir, "access.yaml", accessOf(year)+"  - {who: [alice], may: [operator]}\n")
	next, err := c.Again()
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Diff(next); !d.Access || len(d.Restart) > 0 || next.Diff(next).Access {
		t.Errorf("%+v", d)
	}
	write(t, dir, "access.yaml", "principals: {}\n")
	_, err = c.Again()
	if wrong, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(strings.Join(wrong.Files.Paths(), " "), path) {
		t.Errorf("after a mistake %v", err)
	}
}

func TestAccessFileWarnings(t *testing.T) {
	t.Parallel()
	now, day := time.Now(), 24*time.Hour
	for left, want := range map[time.Duration]string{
		15 * day: "", 13 * day: "api.access_file: the token of alice in line 4 (laptop) ends at ", -day: "api.access_file: the token of alice in line 4 (laptop) ended at ",
	} {
		dir := t.TempDir()
		write(t, dir, "access.yaml", accessOf(now.Add(left)))
		c, err := loadAs(dir, minimal+"api: {access_file: access.yaml}\n", ofAPI)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Warnings(), "\n"); want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, accessHash) {
			t.Errorf("%v left: %q, want %q", left, got, want)
		}
		if got := len(c.EndingTokens(now)) > 0; got != (want != "") {
			t.Errorf("%v left: %v", left, got)
		}
	}
}
