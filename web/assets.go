package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker"
)

//go:embed assets templates
var files embed.FS

// assetDir is the directory of the assets, in the source and on the site.
const assetDir = "assets"

// asset is a file that never changes under its name.
type asset struct {
	media string
	body  []byte
}

// assets are the files of the site besides its pages.
type assets struct {
	byName map[string]asset
	names  map[string]string // from the name in the source to the one with the hash
}

// mediaTypes are those of the assets, by extension.
var mediaTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// loadAssets reads the embedded files. The errors that it panics with cannot happen in
// a program that was ever started.
func loadAssets() assets {
	a := assets{byName: map[string]asset{}, names: map[string]string{}}
	entries, err := files.ReadDir(assetDir)
	if err != nil {
		panic(fmt.Errorf("read the assets: %w", err))
	}
	for _, entry := range entries {
		body, err := files.ReadFile(path.Join(assetDir, entry.Name()))
		if err != nil {
			panic(fmt.Errorf("read the assets: %w", err))
		}
		extension := path.Ext(entry.Name())
		sum := sha256.Sum256(body)
		name := strings.TrimSuffix(entry.Name(), extension) + "." + hex.EncodeToString(sum[:8]) + extension
		a.names[entry.Name()] = name
		a.byName[name] = asset{mediaTypes[extension], body}
	}
	return a
}

// url returns the path of an asset, relative to the first page.
func (a assets) url(name string) (string, error) {
	hashed, ok := a.names[name]
	if !ok {
		return "", fmt.Errorf("asset %q not found", name)
	}
	return assetDir + "/" + hashed, nil
}

func serveAsset(v *visit) error {
	found, ok := v.assets.byName[v.r.PathValue("name")]
	if !ok {
		return tasker.Errorf(tasker.NotFound, "file not found: reload the page, the dashboard may have another version now")
	}
	header := v.w.Header()
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("Content-Type", found.media)
	header.Set("Content-Length", strconv.Itoa(len(found.body)))
	_, _ = v.w.Write(found.body) // an error means that the browser is gone
	return nil
}

// attachment answers with bytes that a browser stores and never shows: they come from
// endpoints and from whoever created a task.
func (v *visit) attachment(media, name string) {
	header := v.w.Header()
	header.Set("Content-Type", media)
	header.Set("Content-Disposition", "attachment; filename="+strconv.Quote(name))
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	v.w.WriteHeader(http.StatusOK)
}
