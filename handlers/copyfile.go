package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// copySettings are the settings of copyfile.
type copySettings struct {
	// Sources and Destinations are the directories, absolute, in which the
	// files lie that may be read and written.
	Sources      []string `json:"sources"`
	Destinations []string `json:"destinations"`
	// Mode is what the copy gets; by default what the source has.
	Mode *fileMode `json:"mode"`
	// MaxSize bounds a file; 0 means no limit.
	MaxSize Size `json:"max_size"`
	// Overwrite allows to replace a file that has another content.
	Overwrite bool `json:"overwrite"`
	// HardLinks allows a source that has other names, wherever they are.
	HardLinks bool `json:"hard_links"`
}

// fileMode is a setting: permissions as octal text, such as "0644".
type fileMode os.FileMode

// UnmarshalJSON takes no number: what YAML makes of 0644 is 420.
func (m *fileMode) UnmarshalJSON(text []byte) error {
	var octal string
	if err := json.Unmarshal(text, &octal); err != nil {
		return fmt.Errorf(`%s is no mode: give octal text in quotes, such as "0644"`, text)
	}
	bits, err := strconv.ParseUint(octal, 8, 32)
	if err != nil || bits > 0o777 {
		return fmt.Errorf(`%s is no mode: give octal text from "0000" to "0777"`, text)
	}
	*m = fileMode(bits)
	return nil
}

// copyPayload names the files by their absolute paths.
type copyPayload struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// copyResult tells what is there now.
type copyResult struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Bytes       int64  `json:"bytes"`
	SHA256      string `json:"sha256"`
	// Unchanged reports that the destination had this content before, or got it
	// from somebody else meanwhile.
	Unchanged bool `json:"unchanged"`
}

// copyfile is the handler that copies a file; see [NewCopyfile].
type copyfile struct {
	Handler
	conf copySettings
}

var (
	_ Checker   = (*copyfile)(nil)
	_ Describer = (*copyfile)(nil)
)

// NewCopyfile makes the handler that copies one file of its machine: the
// payload is {"source":"/srv/in/a","destination":"/srv/out/b"}, and the result
// says how many bytes were copied, and their SHA-256.
//
// Settings: sources and destinations, lists of the directories inside which
// the files must lie, whatever symbolic links say; mode, octal text such as
// "0644", else the mode of the source; max_size; overwrite and hard_links, false
// by default.
//
// A destination is replaced as a whole or not at all, and is on the disk when
// the run ends well. One that has the source's content already is left as it
// is, so that a run can be repeated. The source is copied as far as it went
// when it was opened.
func NewCopyfile(settings Settings) (Handler, error) {
	c := &copyfile{}
	if err := settings.Decode(&c.conf); err != nil {
		return nil, err
	}
	if err := errors.Join(checkDirs("sources", c.conf.Sources), checkDirs("destinations", c.conf.Destinations)); err != nil {
		return nil, err
	}
	c.Handler = Typed(c.copy)
	return c, nil
}

func checkDirs(setting string, dirs []string) error {
	if len(dirs) == 0 {
		return fmt.Errorf("setting %q is missing: give a list of directories, inside which the files must lie", setting)
	}
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return fmt.Errorf("setting %q: %q is not the absolute path of a directory, without . and .. and a / at its end", setting, dir)
		}
	}
	return nil
}

// absolutePattern is the part of a schema that takes absolute paths only, without
// . and .. and a / at the end.
const absolutePattern = `"pattern":"^/","not":{"pattern":"/\\.{0,2}(/|$)|\\x00"},`

// Check tells of directories that are not there.
func (c *copyfile) Check() error {
	var errs []error
	for _, dir := range slices.Concat(c.conf.Sources, c.conf.Destinations) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("there is no directory %s", dir)
		case err == nil && !info.IsDir():
			err = fmt.Errorf("%s is no directory", dir)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Describe tells the configured directories, too.
func (c *copyfile) Describe() Description {
	usage := fmt.Sprintf(`Give the absolute paths of "source", inside %s, and of "destination", inside %s.`,
		strings.Join(c.conf.Sources, " or "), strings.Join(c.conf.Destinations, " or "))
	if !c.conf.Overwrite {
		usage += " A file with another content is not replaced."
	}
	example, err := json.Marshal(copyPayload{
		filepath.Join(c.conf.Sources[0], "file"), filepath.Join(c.conf.Destinations[0], "file"),
	})
	if err != nil { // two strings
		example = nil
	}
	absolute := absolutePattern
	if filepath.Separator != '/' {
		absolute = ""
	}
	return Description{
		Description: "Copies a file on the server.",
		Usage:       usage,
		Schema: Result(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{` +
			`"source":{"type":"string","minLength":1,` + absolute + `"description":"absolute path of the file to copy"},` +
			`"destination":{"type":"string","minLength":1,` + absolute + `"description":"absolute path of the copy"}},` +
			`"required":["source","destination"],"additionalProperties":false}`),
		Example: example,
	}
}

func (c *copyfile) copy(ctx context.Context, req *Request, payload copyPayload) (copyResult, error) {
	if err := context.Cause(ctx); err != nil {
		return copyResult{}, err
	}
	from, err := openInside("source", payload.Source, c.conf.Sources)
	if err != nil {
		return copyResult{}, err
	}
	defer from.Close()
	to, err := openInside("destination", payload.Destination, c.conf.Destinations)
	if err != nil {
		return copyResult{}, err
	}
	defer to.Close()

	source, err := c.openSource(from)
	if err != nil {
		return copyResult{}, err
	}
	defer source.Close()
	if err := removeLeftovers(to); err != nil {
		return copyResult{}, err
	}
	result := copyResult{Source: payload.Source, Destination: payload.Destination, Bytes: source.size}
	if result.SHA256, err = c.alreadyThere(ctx, to, source); err != nil {
		return copyResult{}, err
	}
	if result.Unchanged = result.SHA256 != ""; result.Unchanged {
		return result, nil
	}
	if result.SHA256, result.Unchanged, err = c.replace(ctx, req, source, to); err != nil {
		return copyResult{}, err
	}
	return result, nil
}

// place is a path inside a directory that it cannot leave.
type place struct {
	*os.Root
	name string // of the payload's member, for messages
	full string // as the payload gives it
	path string // inside the root
}

// openInside opens the first of the directories in which a file lies.
func openInside(name, full string, dirs []string) (place, error) {
	if full == "" {
		return place{}, Permanent(fmt.Errorf("the payload has no %q: give the absolute path of a file", name))
	}
	if !filepath.IsAbs(full) || filepath.Clean(full) != full {
		return place{}, Permanent(fmt.Errorf("%q must be the absolute path of a file, without . and .. and a / at its end, and is %q", name, full))
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
	return place{}, Permanent(fmt.Errorf("%q is %q, which is not inside %s", name, full, strings.Join(dirs, " or ")))
}

// wrong names the file in an error about it.
func (p place) wrong(format string, args ...any) error {
	return fmt.Errorf("%s %s: %w", p.name, p.full, fmt.Errorf(format, args...))
}
