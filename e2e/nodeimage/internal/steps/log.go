package steps

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Log takes the output of one step's commands.
type Log struct{ file *os.File }

// Write adds to the step's log file.
func (l *Log) Write(b []byte) (int, error) { return l.file.Write(b) }

// Printf adds a line of our own to the step's log file.
func (l *Log) Printf(format string, args ...any) { _, _ = fmt.Fprintf(l.file, format+"\n", args...) }

// Run runs a command with its output in the log; cmd.Stdout and cmd.Stderr are left alone when the caller set them.
func (l *Log) Run(cmd *exec.Cmd) error {
	l.Printf("$ %s", strings.Join(cmd.Args, " "))
	if cmd.Stdout == nil {
		cmd.Stdout = l.file
	}
	if cmd.Stderr == nil {
		cmd.Stderr = l.file
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", cmd.Args[0], err)
	}
	return nil
}

// Output runs a command and returns its standard output; the rest goes to the log.
func (l *Log) Output(cmd *exec.Cmd) ([]byte, error) {
	var b bytes.Buffer
	cmd.Stdout = &b
	err := l.Run(cmd)
	return b.Bytes(), err
}

// Command is exec.CommandContext with a polite end: SIGTERM first, so that tools such as debootstrap and go can clean
// up, and ten seconds later SIGKILL.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
