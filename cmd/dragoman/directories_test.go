package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// TestFault03ADirectoryThatCannotBeWrittenToIsNoReasonToEnd: the process would be started again and again.
func TestFault03ADirectoryThatCannotBeWrittenToIsNoReasonToEnd(t *testing.T) {
	failed := func(errno error) error { return &fs.PathError{Op: "open", Path: "/state/epoch", Err: errno} }
	for name, tc := range map[string]struct {
		opens []error // one after the other
		after time.Duration
		says  int // lines of the log
		want  error
	}{
		"it can be opened":            {[]error{nil}, 0, 0, nil},
		"it is read-only for a while": {[]error{failed(syscall.EROFS), failed(syscall.EROFS), nil}, 2 * openPause, 1, nil},
		"it is full for a while":      {[]error{failed(syscall.ENOSPC), nil}, openPause, 1, nil},
		"the disk fails for a while":  {[]error{failed(syscall.EIO), nil}, openPause, 1, nil},
		"it is a file":                {[]error{failed(syscall.ENOTDIR)}, 0, 0, syscall.ENOTDIR},
		"it is somebody else's":       {[]error{failed(syscall.EACCES)}, 0, 0, syscall.EACCES},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				ctx := klog.NewContext(t.Context(), textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))))
				began, n := time.Now(), 0
				err := patiently(ctx, "--state-dir", dir, func() error { n++; return tc.opens[n-1] })
				if !errors.Is(err, tc.want) || time.Since(began) != tc.after || n != len(tc.opens) {
					t.Errorf("%v after %s and %d attempts", err, time.Since(began), n)
				}
				if err != nil && !strings.Contains(err.Error(), "name a directory that this process can write to") {
					t.Errorf("the error does not say what to do: %v", err)
				}
				if lines := strings.Count(log.String(), "\n"); lines != tc.says {
					t.Errorf("the log has %d lines, want %d:\n%s", lines, tc.says, log.String())
				}
			})
		})
	}
}

func TestADirectoryThatIsMissingCanBeWrittenTo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{config: &driverConfig{StateDir: dir, DriverName: "missing", CDIDir: dir}}
	if err := p.canWrite(); err != nil {
		t.Error(err)
	}
	p.config.CDIDir = file
	if err := p.canWrite(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file in its place: %v", err)
	}
}
