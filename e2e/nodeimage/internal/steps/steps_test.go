package steps

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reporter returns a Reporter and a function that reads what it has printed.
func reporter(t *testing.T) (*Reporter, func() string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	return New(out, t.TempDir()), func() string {
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func TestAStepThatWorks(t *testing.T) {
	r, printed := reporter(t)
	err := r.Run(context.Background(), "build", "building x", "about 7 min", func(_ context.Context, log *Log) error {
		log.Printf("noise")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text := printed()
	if want := " • building x (about 7 min)\n ✓ building x (0.0s)\n"; text != want {
		t.Errorf("printed %q", text)
	}
}

func TestAStepThatFailsShowsItsLogOnce(t *testing.T) {
	r, printed := reporter(t)
	cause := errors.New("disk full")
	err := r.Run(context.Background(), "build", "building x", "", func(_ context.Context, log *Log) error {
		for range 40 {
			log.Printf("early line")
		}
		log.Printf("last words")
		return Advise(cause, "Make room.")
	})
	if !errors.Is(err, cause) || !Shown(err) {
		t.Fatalf("got %v, shown %v", err, Shown(err))
	}
	text := printed()
	for _, want := range []string{" ✗ building x", "│ last words\n", "disk full", "build.log\n", "Make room.\n"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is there %d times, want once, in\n%s", want, strings.Count(text, want), text)
		}
	}
	if n := strings.Count(text, "│"); n != tailLines {
		t.Errorf("%d lines of the log are shown, want %d", n, tailLines)
	}
}

func TestCommandsWriteToTheLog(t *testing.T) {
	r, _ := reporter(t)
	err := r.Run(context.Background(), "c", "c", "", func(_ context.Context, log *Log) error {
		out, err := log.Output(exec.Command("sh", "-c", "echo out; echo err >&2"))
		if err != nil || string(out) != "out\n" {
			t.Errorf("got %q, %v", out, err)
		}
		return log.Run(exec.Command("sh", "-c", "echo more; exit 3"))
	})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
	text, readErr := os.ReadFile(filepath.Join(r.logs, "c.log"))
	if readErr != nil || !strings.Contains(string(text), "\nerr\n") || !strings.Contains(string(text), "\nmore\n") {
		t.Errorf("log is %q, %v", text, readErr)
	}
}

func TestAdviseKeepsNil(t *testing.T) {
	if err := Advise(nil, "do"); err != nil {
		t.Errorf("got %v", err)
	}
}
