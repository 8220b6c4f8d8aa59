package subject

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// Instance is one process of the driver.
type Instance struct {
	// ID is another one for each instance: what the pod's UID is to a driver in a DaemonSet.
	ID string

	subject *Subject
	command *exec.Cmd // nil if it runs elsewhere
	output  log
	exited  chan struct{}
	err     error // of the process; valid once exited is closed
	stopped bool  // elsewhere
}

func (i *Instance) launch() error {
	i.command = exec.Command("sh", "-c", executed(i.subject.options.Start)) //nolint:noctx // it ends by a signal
	i.command.Env = i.subject.environment(i.ID)
	i.output.also = i.subject.options.Output
	i.command.Stdout, i.command.Stderr = &i.output, &i.output
	// A group of its own, so that what the command starts gets the same signals; and it dies with this process.
	i.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	i.exited = make(chan struct{})
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread ends that started the process, so this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := i.command.Start()
		started <- err
		if err == nil {
			i.err = i.command.Wait()
			close(i.exited)
		}
	}()
	return <-started
}

// executed makes a plain command replace the shell, so that the process is the driver. One that the shell has to
// interpret says "exec" itself.
func executed(line string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if strings.ContainsAny(line, ";&|<>()\n") || strings.Contains(first, "=") || first == "exec" {
		return line
	}
	return "exec " + line
}

// PID of the driver: of the shell, if the start command is one that the shell interprets and does not end in "exec". 0
// if the driver runs elsewhere.
func (i *Instance) PID() int {
	if i.command == nil {
		return 0
	}
	return i.command.Process.Pid
}

// Exited is closed when the process has ended; nil if it runs elsewhere.
func (i *Instance) Exited() <-chan struct{} { return i.exited }

// Ended says whether the process has ended.
func (i *Instance) Ended() bool {
	if i.command == nil {
		return i.stopped
	}
	select {
	case <-i.exited:
		return true
	default:
		return false
	}
}

// Err says how the process ended; nil if it did with success, or still runs.
func (i *Instance) Err() error {
	if i.command == nil || !i.Ended() {
		return nil
	}
	return i.err
}

// Log returns the end of what the instance said.
func (i *Instance) Log(limit int) string { return i.output.tail(limit) }

// Stop asks the driver to end, as the kubelet asks a container, and waits until it has. It is an error if it does not,
// or not with success.
func (i *Instance) Stop(ctx context.Context) error {
	if i.command == nil {
		i.stopped = true
		if err := i.subject.command(ctx, i.ID, i.subject.options.Stop); err != nil {
			return fmt.Errorf("stop the driver: %w", err)
		}
		return nil
	}
	if err := i.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the driver: %w", err)
	}
	return i.Wait(ctx)
}

// End asks the driver to end and waits until it has. How it ends does not matter: a driver that is asked in its first
// second may say that it did not get what it was waiting for.
func (i *Instance) End(ctx context.Context) error {
	ran := !i.Ended()
	err := i.Stop(ctx)
	if ran && i.command != nil && i.Ended() {
		return nil
	}
	return err
}

// Wait waits until the process has ended, by itself or asked before, and returns how.
func (i *Instance) Wait(ctx context.Context) error {
	select {
	case <-i.exited:
	case <-ctx.Done():
		return fmt.Errorf("the driver (process %d) still runs: %w", i.PID(), ctx.Err())
	}
	if i.err != nil {
		return fmt.Errorf("the driver (process %d) ended with %w", i.PID(), i.err)
	}
	return nil
}

// Kill ends the driver as the kernel does when memory runs out, and waits until it is gone.
func (i *Instance) Kill(ctx context.Context) error {
	if i.command == nil {
		i.stopped = true
		if err := i.subject.command(ctx, i.ID, i.subject.options.Kill); err != nil {
			return fmt.Errorf("kill the driver: %w", err)
		}
		return nil
	}
	_ = i.signal(syscall.SIGKILL) // it may have ended by itself
	select {
	case <-i.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the driver (process %d) does not die: %w", i.PID(), ctx.Err())
	}
}

// Pause stops the process where it is, Continue lets it go on. Only for drivers in the foreground.
func (i *Instance) Pause() error { return i.signal(syscall.SIGSTOP) }

// Continue lets a paused process go on.
func (i *Instance) Continue() error { return i.signal(syscall.SIGCONT) }

func (i *Instance) signal(signal syscall.Signal) error {
	if i.command == nil {
		return errors.New("the driver runs elsewhere")
	}
	if i.Ended() {
		return fmt.Errorf("the driver (process %d) has ended already: %w", i.PID(), errOrSuccess(i.err))
	}
	if err := syscall.Kill(-i.PID(), signal); err != nil {
		return fmt.Errorf("send %v to the driver (process %d): %w", signal, i.PID(), err)
	}
	return nil
}

func errOrSuccess(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func (i *Instance) state() string {
	switch {
	case i.command == nil:
		return ", which runs elsewhere: look at its own log"
	case i.Ended():
		return fmt.Sprintf(", process %d, which ended with %v", i.PID(), errOrSuccess(i.err))
	default:
		return fmt.Sprintf(", process %d", i.PID())
	}
}
