package footprint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotTraced says that system calls cannot be counted here: strace may not look at the process, or cannot count so.
var ErrNotTraced = errors.New("strace does not watch the process")

// Calls counts the system calls that all threads of a process make while during runs, by name, with strace. The sum is
// there as "all", and those that wait for a disk are there also if none was made. The process is slowed down much
// meanwhile. The error is ErrNotTraced if strace cannot; then during was not run.
func Calls(ctx context.Context, strace string, pid int, during func() error) (map[string]int, error) {
	table, err := os.CreateTemp("", "calls")
	if err != nil {
		return nil, fmt.Errorf("make a file for the system calls: %w", err)
	}
	defer os.Remove(table.Name()) //nolint:errcheck // in the directory for temporary files
	defer table.Close()           //nolint:errcheck // it is only read
	tracer := exec.CommandContext(ctx, strace, "-f", "-c", "-U", "name,calls", "-o", table.Name(), "-p", strconv.Itoa(pid))
	said, err := tracer.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", strace, err)
	}
	// Killed, it would leave the process stopped.
	tracer.Cancel = func() error { return tracer.Process.Signal(syscall.SIGINT) }
	tracer.WaitDelay = 10 * time.Second
	// It ends with this process too, however that does: the signal comes when the thread ends that started it.
	tracer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := tracer.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", strace, err)
	}
	lines := bufio.NewReader(said)
	if err := attached(lines); err != nil {
		_ = tracer.Process.Signal(syscall.SIGINT) // it ends by itself
		_ = tracer.Wait()
		return nil, fmt.Errorf("count the system calls of process %d: %w", pid, err)
	}
	err = during()
	stopped := tracer.Process.Signal(syscall.SIGINT)
	_, _ = io.Copy(io.Discard, lines) // which threads came and went
	_ = tracer.Wait()                 // it ends by the signal
	if err := errors.Join(err, stopped); err != nil {
		return nil, err
	}
	return parse(table)
}

// attached waits until strace says that it watches the process.
func attached(said *bufio.Reader) error {
	for {
		line, err := said.ReadString('\n')
		switch {
		case strings.Contains(line, ": Process ") && strings.Contains(line, " attached"):
			return nil
		case strings.Contains(line, "attach: "), err != nil:
			return fmt.Errorf("%w: it says %q", ErrNotTraced, strings.TrimSpace(line))
		}
	}
}

// parse reads strace's table of names and calls.
func parse(table io.Reader) (map[string]int, error) {
	calls := map[string]int{"all": 0, "fsync": 0, "fdatasync": 0, "syncfs": 0, "sync_file_range": 0}
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || fields[0] == "syscall" || fields[0] == "total" || strings.HasPrefix(fields[0], "--") {
			continue
		}
		count, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("read strace's table: %q is no number of calls", lines.Text())
		}
		calls[fields[0]] += count
		calls["all"] += count
	}
	return calls, nil
}
