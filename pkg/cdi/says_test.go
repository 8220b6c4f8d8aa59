package cdi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhetherAFileSaysWhatItShould(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cdi")
	d, err := Open(path, "gpu.example.com")
	if err != nil {
		t.Fatal(err)
	}
	raw := json.RawMessage(`{"cdiVersion":"0.5.0","kind":"k8s.gpu.example.com/gpu","devices":[]}`)
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"it is not there", func() error { return nil }, false},
		{"it was written", func() error { return d.WriteRaw("a", raw) }, true},
		{"somebody wrote into it", func() error { return os.WriteFile(filepath.Join(path, d.name("a")), nil, 0o600) }, false},
		{"it was written again", func() error { return d.WriteRaw("a", raw) }, true},
		{"the directory is gone", func() error { return os.RemoveAll(path) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := d.Says("a", raw); got != step.want {
			t.Errorf("%s: %v", step.name, got)
		}
	}
	if d.Says("../a", raw) || d.Says("a", json.RawMessage("{")) {
		t.Error("what is no claim, or no spec, is there")
	}
}

func TestTheStampOfADirectoryChangesWithItsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cdi")
	d, err := Open(path, "gpu.example.com")
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour) // in another tick of the clock
	last := Stamp{}
	for name, change := range map[string]func() error{
		"a file is made": func() error { return os.WriteFile(filepath.Join(path, "file"), nil, 0o600) },
		"it is made anew": func() error {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o755)
		},
	} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
		before, err := d.Stamp()
		if again, _ := d.Stamp(); err != nil || again != before || before == last {
			t.Errorf("%v, then %v, %v", before, again, err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if after, err := d.Stamp(); after == before || err != nil {
			t.Errorf("%s: the stamp stays %v, %v", name, after, err)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if none, err := d.Stamp(); none != (Stamp{}) || err != nil {
		t.Errorf("of a directory that is gone: %v, %v", none, err)
	}
}
