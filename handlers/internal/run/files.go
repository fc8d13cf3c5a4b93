package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/proc"
	"github.com/taskerhq/tasker/handlers/internal/program"
)

// The names of a run's files, in the directory for temporary files. Between
// prefix and extension both have the same random text.
const (
	payloadPrefix, payloadExt = "tasker-payload-", ".json"
	workPrefix                = "tasker-work-"
	payloadVariable           = "TASKER_PAYLOAD_FILE"
)

// workOf returns the path of the working directory of the run with that payload
// file.
func workOf(payload string) string {
	random := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(payload), payloadPrefix), payloadExt)
	return filepath.Join(filepath.Dir(payload), workPrefix+random)
}

func endLeftovers(ctx context.Context, log *slog.Logger) {
	program.EndLeftovers(ctx, log, payloadPrefix+"*"+payloadExt, payloadVariable, func(payload string) error {
		return errors.Join(os.RemoveAll(payload), os.RemoveAll(workOf(payload)))
	})
}

// files are the files of one run.
type files struct {
	work    string // where the program starts
	own     bool   // work was made for this run
	payload *os.File
}

// makeFiles makes a file with the payload and, unless a directory is configured,
// an empty working directory. Both belong to the user of the run. They are
// beside each other, not nested, so that the directory is empty; to make and
// remove them is most of what a run costs.
func (s *Settings) makeFiles(spec *proc.Spec, payload []byte) (f *files, err error) {
	uid, gid, other, err := spec.Owner()
	if err != nil {
		return nil, program.StartError(err)
	}
	f = &files{work: s.Directory, own: s.Directory == ""}
	defer func() {
		if err != nil {
			_ = f.remove()
			f, err = nil, fmt.Errorf("make the files of the run: %w", err)
		}
	}()
	if f.payload, err = os.CreateTemp("", payloadPrefix+"*"+payloadExt); err != nil {
		return f, err
	}
	if _, err = f.payload.Write(payload); err != nil {
		return f, err
	}
	if _, err = f.payload.Seek(0, io.SeekStart); err != nil {
		return f, err
	}
	if f.own {
		f.work = workOf(f.payload.Name())
		if err = os.Mkdir(f.work, 0o700); err != nil {
			f.own = false
			return f, err
		}
	}
	if !other {
		return f, nil
	}
	if err = f.payload.Chown(uid, gid); err == nil && f.own {
		err = os.Lchown(f.work, uid, gid)
	}
	return f, err
}

func (f *files) remove() error {
	var errs []error
	if f.payload != nil {
		_ = f.payload.Close()
		if err := os.Remove(f.payload.Name()); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if f.own {
		errs = append(errs, os.RemoveAll(f.work))
	}
	return errors.Join(errs...)
}

// environ returns the environment of a run.
func (s *Settings) environ(req *handlers.Request, p Program, f *files) ([]string, error) {
	env, err := s.Variables(p.Values)
	if err != nil {
		return nil, program.StartError(err)
	}
	maps.Copy(env, map[string]string{
		"TASKER_TASK_ID": strconv.FormatInt(req.TaskID, 10), "TASKER_IDENTIFIER": req.Identifier, "TASKER_TYPE": req.Type,
		"TASKER_ENDPOINT": req.Endpoint, "TASKER_ATTEMPT": strconv.Itoa(req.Attempt), "TASKER_STEP": strconv.Itoa(max(req.Step, 1)),
		payloadVariable: f.payload.Name(), "TASKER_WORK_DIR": f.work, "TASKER_FD": "3",
	})
	if !req.Deadline.IsZero() {
		env["TASKER_DEADLINE"] = req.Deadline.UTC().Format(time.RFC3339)
	}
	return program.Environ(env), nil
}
