package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T) Cache {
	t.Helper()
	c, err := Open(t.TempDir() + "/c")
	if err != nil {
		t.Fatalf("open the cache (TMPDIR may be too long for a socket path): %v", err)
	}
	return c
}

// The names of tests that open a cache are short because they are part of the temporary folder's.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DRAGOMAN_CACHE", dir+"/variable")
	for flag, want := range map[string]string{"": dir + "/variable", dir + "/flag": dir + "/flag"} {
		if c, err := Open(flag); err != nil || c.Path() != want {
			t.Errorf("Open(%q) is %q, %v; want %q", flag, c.Path(), err, want)
		}
	}
}

func TestOpenRefusesWhatSocketsCannotName(t *testing.T) {
	if _, err := Open("/tmp/" + strings.Repeat("x", maxRoot)); err == nil || !strings.Contains(err.Error(), "--cache") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

func TestWriteIsWholeOrNotAtAll(t *testing.T) {
	path := t.TempDir() + "/new/file"
	err := Write(path, 0o640, func(w io.Writer) error {
		_, err := io.WriteString(w, "one")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err = Write(path, 0o640, func(w io.Writer) error { _, _ = io.WriteString(w, "tw"); return broken })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "one" {
		t.Errorf("file is %q, %v; want the first content", text, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("temporary files are left: %v", left)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
}

func TestLock(t *testing.T) {
	for name, tc := range map[string]struct{ first, second, wait bool }{
		"alone, alone":   {false, false, true},
		"alone, shared":  {false, true, true},
		"shared, alone":  {true, false, true},
		"shared, shared": {true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			unlock, err := c.Lock(ctx, Builds, tc.first, func() { t.Error("the first has nothing to wait for") })
			if err != nil {
				t.Fatal(err)
			}
			waited := 0
			second, err := c.Lock(ctx, Builds, tc.second, func() { waited++ })
			if (err != nil) != tc.wait || (waited == 1) != tc.wait {
				t.Errorf("got %v, told %d times to wait; want to wait: %v", err, waited, tc.wait)
			}
			if err == nil {
				second()
			}
			unlock()
			third, err := c.Lock(context.Background(), Builds, tc.second, func() { t.Error("the lock is not free") })
			if err != nil {
				t.Fatal(err)
			}
			third()
		})
	}
}

func TestLocks(t *testing.T) {
	c := open(t)
	for _, what := range []string{Clusters, Builds} {
		unlock, err := c.Lock(context.Background(), what, false, func() { t.Errorf("%s has to wait", what) })
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
}
