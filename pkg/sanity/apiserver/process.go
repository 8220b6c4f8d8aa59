package apiserver

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// lastLines is how much of a dead process' log an error shows: enough for why it ended.
const lastLines = 12

// errNoReason is how a server ends that nobody asked to end and that reports no error.
var errNoReason = errors.New("exit status 0")

// process is one running program with its output in a file.
type process struct {
	name  string
	log   string
	pid   int
	ended chan struct{} // closed when it has ended
	how   error         // how, once ended is closed
}

// run starts a program in the directory dir. It ends with this process, however that ends.
func run(dir, name, program string, args []string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("keep the log of %s: %w", name, err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A group of its own: an interrupt from the terminal is for us, and we still need the server to tidy up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the starting thread ends, so this one has to stay.
		runtime.LockOSThread()
		defer func() { _ = log.Close() }()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.how = cmp.Or(cmd.Wait(), errNoReason)
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// signal does nothing to a process that has ended: its number may be another's by now.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.ended:
		return p.death()
	default:
	}
	if err := syscall.Kill(p.pid, s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// kill ends the process and waits until it is gone.
func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL) // one that has ended is what is wanted
	<-p.ended
}

// death says how the process ended, and nil while it runs.
func (p *process) death() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended: %w; the last lines of its log:\n%s", p.name, p.how, tail(p.log))
	default:
		return nil
	}
}

// tail returns the last lines of a file, indented; of one that cannot be read, why.
func tail(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "  " + err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-lastLines):], "\n  ")
}
