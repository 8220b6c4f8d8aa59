// Package steps shows a person what a long run is doing, how long each step took, and where to look when one breaks.
package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// tailLines is how much of a failed step's log is shown: enough for a compiler's or kind's last words.
const tailLines = 30

// Reporter prints steps as they begin, live and end. The output of their commands goes to log files, not to the screen.
type Reporter struct {
	out  io.Writer
	logs string
	// beat is how often a running step shows that it lives.
	beat time.Duration
	tty  bool
}

// New returns a Reporter that prints to out and keeps its logs in the folder logs.
// On a terminal a running step counts its seconds; elsewhere it adds a line every half minute, so that logs stay short.
func New(out *os.File, logs string) *Reporter {
	r := &Reporter{out: out, logs: logs, beat: 30 * time.Second}
	if st, err := out.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		r.tty, r.beat = true, time.Second
	}
	return r
}

// printf prints to a person: when that does not work, there is nobody to tell.
func (r *Reporter) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }

// Done prints a step that needed no work.
func (r *Reporter) Done(format string, args ...any) { r.printf(" ✓ "+format+"\n", args...) }

// Note prints a decision the reader should know about.
func (r *Reporter) Note(format string, args ...any) { r.printf("   "+format+"\n", args...) }

// Run does one step. id names its log file, title says what is done, hint (may be empty) how long that takes.
// When do returns an error, the end of the log, its path and the error's Advise text are printed here, once:
// the returned error is only for the exit code (see Shown).
func (r *Reporter) Run(ctx context.Context, id, title, hint string, do func(context.Context, *Log) error) error {
	log, err := r.open(id)
	if err != nil {
		return err
	}
	defer func() { _ = log.file.Close() }()
	head := title
	if hint != "" {
		head += " (" + hint + ")"
	}
	start := time.Now()
	r.printf(" • %s", head)
	if !r.tty {
		r.printf("\n")
	}
	stop := r.live(head, start)
	err = do(ctx, log)
	stop()
	took := short(time.Since(start))
	if err == nil {
		r.printf("%s ✓ %s (%s)\n", r.home(), title, took)
		return nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %w", err)
	}
	r.printf("%s ✗ %s (%s)\n", r.home(), title, took)
	r.explain(err, log)
	return shownError{err}
}

// live shows life signs until the returned function is called; when that returns, nothing more is printed.
func (r *Reporter) live(head string, start time.Time) func() {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(r.beat)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if r.tty {
					r.printf("%s • %s … %s", r.home(), head, short(time.Since(start)))
				} else {
					r.printf("   … %s\n", short(time.Since(start)))
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// home goes back to the start of the running step's line on a terminal.
func (r *Reporter) home() string {
	if r.tty {
		return "\r\x1b[K"
	}
	return ""
}

func (r *Reporter) explain(err error, log *Log) {
	for _, line := range tail(log.file.Name(), tailLines) {
		r.printf("   │ %s\n", line)
	}
	r.printf("   %v\n   log: %s\n", err, log.file.Name())
	if do := Advice(err); do != "" {
		r.printf("   %s\n", do)
	}
}

func (r *Reporter) open(id string) (*Log, error) {
	if err := os.MkdirAll(r.logs, 0o755); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	f, err := os.Create(filepath.Join(r.logs, id+".log"))
	if err != nil {
		return nil, fmt.Errorf("create step log: %w", err)
	}
	return &Log{file: f}, nil
}

// tail returns the last n lines of a file; one that cannot be read has none.
func tail(file string, n int) []string {
	b, err := os.ReadFile(file)
	if err != nil || len(b) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

func short(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%.0fs", d.Seconds())
}

// shownError is an error whose text the reader has already seen.
type shownError struct{ error }

func (e shownError) Unwrap() error { return e.error }

// Shown tells whether err was already printed by a step.
func Shown(err error) bool {
	_, ok := errors.AsType[shownError](err)
	return ok
}

// advisedError carries what the reader can do about an error.
type advisedError struct {
	error
	do string
}

func (e advisedError) Unwrap() error { return e.error }

// Advise adds to err what the reader can do about it; nil stays nil.
func Advise(err error, do string) error {
	if err == nil {
		return nil
	}
	return advisedError{err, do}
}

// Advice returns what was said with Advise, or nothing.
func Advice(err error) string {
	if a, ok := errors.AsType[advisedError](err); ok {
		return a.do
	}
	return ""
}
