package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/taskerhq/tasker"
)

// devURL is the file in the data directory of "tasker dev" with the URL of its
// API, for as long as it runs.
const devURL = "api.url"

// DevURL returns the URL of the API of the "tasker dev" that runs in a data
// directory.
func DevURL(dataDir string) (string, error) {
	url, err := os.ReadFile(filepath.Join(dataDir, devURL)) //nolint:gosec // the user chooses the directory
	if errors.Is(err, fs.ErrNotExist) {
		return "", tasker.Errorf(tasker.Invalid, "tasker dev is not running in %s: start it, or name its directory with --data", dataDir)
	}
	if err != nil {
		return "", fmt.Errorf("find the API of tasker dev: %w", err)
	}
	return strings.TrimSpace(string(url)), nil
}
