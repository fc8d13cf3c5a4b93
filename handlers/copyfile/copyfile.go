// Package copyfile is the handler that copies a file.
package copyfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskerhq/tasker/handlers"
)

type settings struct {
	// Sources and Destinations are the absolute paths of the directories in which
	// files may be read and written.
	Sources      []string `json:"sources"`
	Destinations []string `json:"destinations"`
	// Mode is that of the copy; nil means the mode of the source.
	Mode *handlers.Mode `json:"mode"`
	// MaxSize bounds a file; 0 means no limit.
	MaxSize handlers.Size `json:"max_size"`
	// Overwrite allows to replace a file with other content.
	Overwrite bool `json:"overwrite"`
	// HardLinks allows a source that has other names, wherever they are.
	HardLinks bool `json:"hard_links"`
}

// payload has the absolute paths of the files.
type payload struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

type result struct {
	payload
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Unchanged reports that the destination had this content before, or was
	// given it by somebody else meanwhile.
	Unchanged bool `json:"unchanged"`
}

type handler struct {
	handlers.Handler
	conf settings
}

var (
	_ handlers.Checker   = (*handler)(nil)
	_ handlers.Describer = (*handler)(nil)
)

// New returns the handler that copies one file of its machine. The payload is
// {"source":"/srv/in/a","destination":"/srv/out/b"}; the result has the number
// of bytes and their SHA-256.
//
// Settings: sources and destinations, the directories inside which the files must
// be, whatever symbolic links say; mode, such as "0644", by default that of the
// source; max_size; overwrite and hard_links, false by default.
//
// A destination is replaced as a whole or not at all, and is on disk when the run
// succeeds. One that has the content of the source is left as it is, so that a
// run can be repeated. The source is copied as long as it was when it was
// opened.
func New(s handlers.Settings) (handlers.Handler, error) {
	h := &handler{}
	if err := s.Decode(&h.conf); err != nil {
		return nil, err
	}
	if err := errors.Join(checkDirs("sources", h.conf.Sources), checkDirs("destinations", h.conf.Destinations)); err != nil {
		return nil, err
	}
	h.Handler = handlers.Typed(h.copy)
	return h, nil
}

func checkDirs(setting string, dirs []string) error {
	if len(dirs) == 0 {
		return fmt.Errorf("setting %q is required: a list of directories, inside which the files must be", setting)
	}
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return fmt.Errorf("setting %q: must be absolute paths, without . and .. and a final /, got %q", setting, dir)
		}
	}
	return nil
}

// absolutePattern is the part of a schema that accepts absolute paths only, without
// . and .. and a final /.
const absolutePattern = `"pattern":"^/","not":{"pattern":"/\\.{0,2}(/|$)|\\x00"},`

// Check reports directories that do not exist.
func (h *handler) Check() error {
	var errs []error
	for _, dir := range slices.Concat(h.conf.Sources, h.conf.Destinations) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s does not exist", dir)
		case err == nil && !info.IsDir():
			err = fmt.Errorf("%s is not a directory", dir)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Describe names the configured directories.
func (h *handler) Describe() handlers.Description {
	usage := fmt.Sprintf(`"source" is the absolute path of a file inside %s, "destination" of one inside %s.`,
		strings.Join(h.conf.Sources, " or "), strings.Join(h.conf.Destinations, " or "))
	if !h.conf.Overwrite {
		usage += " A file with other content is not replaced."
	}
	example, err := json.Marshal(payload{
		filepath.Join(h.conf.Sources[0], "file"), filepath.Join(h.conf.Destinations[0], "file"),
	})
	if err != nil { // two strings
		example = nil
	}
	absolute := absolutePattern
	if filepath.Separator != '/' {
		absolute = ""
	}
	return handlers.Description{
		Description: "Copies a file on the server.",
		Usage:       usage,
		Schema: handlers.Result(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{` +
			`"source":{"type":"string","minLength":1,` + absolute + `"description":"absolute path of the file to copy"},` +
			`"destination":{"type":"string","minLength":1,` + absolute + `"description":"absolute path of the copy"}},` +
			`"required":["source","destination"],"additionalProperties":false}`),
		Example: example,
	}
}

func (h *handler) copy(ctx context.Context, req *handlers.Request, p payload) (result, error) {
	if err := context.Cause(ctx); err != nil {
		return result{}, err
	}
	from, err := openInside("source", p.Source, h.conf.Sources)
	if err != nil {
		return result{}, err
	}
	defer from.Close()
	to, err := openInside("destination", p.Destination, h.conf.Destinations)
	if err != nil {
		return result{}, err
	}
	defer to.Close()

	source, err := h.openSource(from)
	if err != nil {
		return result{}, err
	}
	defer source.Close()
	if err := removeLeftovers(to); err != nil {
		return result{}, err
	}
	r := result{payload: p, Bytes: source.size}
	if r.SHA256, err = h.sumIfSame(ctx, to, source); err != nil {
		return result{}, err
	}
	if r.Unchanged = r.SHA256 != ""; r.Unchanged {
		return r, nil
	}
	if r.SHA256, r.Unchanged, err = h.replace(ctx, req, source, to); err != nil {
		return result{}, err
	}
	return r, nil
}

// place is a path inside a directory that it cannot leave.
type place struct {
	*os.Root
	name string // of the payload's member, for messages
	full string // as in the payload
	path string // inside the root
}

// openInside opens the first of the directories in which a file is.
func openInside(name, full string, dirs []string) (place, error) {
	if full == "" {
		return place{}, handlers.Permanent(fmt.Errorf("missing %q: the absolute path of a file", name))
	}
	if !filepath.IsAbs(full) || filepath.Clean(full) != full {
		return place{}, handlers.Permanent(fmt.Errorf(
			"invalid %q %q: must be the absolute path of a file, without . and .. and a final /", name, full))
	}
	for _, dir := range dirs {
		path, err := filepath.Rel(dir, full)
		if err != nil || path == "." || !filepath.IsLocal(path) {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return place{}, fmt.Errorf("open the directory of %q: %w", name, err)
		}
		return place{root, name, full, path}, nil
	}
	return place{}, handlers.Permanent(fmt.Errorf("invalid %q %q: must be inside %s", name, full, strings.Join(dirs, " or ")))
}

// errorf returns an error about the file.
func (p place) errorf(format string, args ...any) error {
	return fmt.Errorf("%s %s: %w", p.name, p.full, fmt.Errorf(format, args...))
}
