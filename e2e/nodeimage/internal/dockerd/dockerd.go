// Package dockerd runs a Docker engine of our own on a Debian host that has none, with everything it has in one folder,
// and takes it away again without a trace.
//
// The room is larger than others because starting it means knowing all that stopping it has to put back.
package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/debian"
	"example.com/dragoman/e2e/nodeimage/internal/engine"
	"example.com/dragoman/e2e/nodeimage/internal/mounts"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// Own is the engine that lives in a folder.
type Own struct{ Dir string }

func (o Own) socket() string  { return filepath.Join(o.Dir, "docker.sock") }
func (o Own) pidFile() string { return filepath.Join(o.Dir, "docker.pid") }
func (o Own) execRoot() string {
	return filepath.Join(o.Dir, "exec")
}

// LogFile takes what dockerd says.
func (o Own) LogFile() string { return filepath.Join(o.Dir, "dockerd.log") }

// Host is the DOCKER_HOST of the engine.
func (o Own) Host() string { return "unix://" + o.socket() }

// Engine is the engine as others use it.
func (o Own) Engine() engine.Engine { return engine.Engine{Host: o.Host(), Ours: true} }

// Used tells whether this engine has changed the host since it was last taken away.
func (o Own) Used() bool { return cache.Exists(o.beforeFile()) }

// Install brings Docker's packages onto the host when they are missing.
func (o Own) Install(ctx context.Context, log *steps.Log) error {
	packages := MissingPackages()
	if len(packages) == 0 {
		return nil
	}
	if err := debian.CanInstall(); err != nil {
		return steps.Advise(fmt.Errorf("no container engine answers, and one cannot be installed: %w", err),
			"Start Docker (and set DOCKER_HOST when it listens elsewhere), or run this as root on Debian, or install: "+
				strings.Join(packages, " "))
	}
	if err := debian.Install(ctx, log, packages); err != nil {
		return err
	}
	// Until Debian 12 docker.io has the client in it; since then it is a package of its own.
	if client := debian.Missing([]debian.Need{{Command: "docker", Package: "docker-cli"}}); len(client) > 0 {
		return debian.Install(ctx, log, client)
	}
	return nil
}

// MissingPackages lists what the host lacks for an engine of ours.
func MissingPackages() []string {
	return debian.Missing([]debian.Need{
		{Command: "dockerd", Package: "docker.io"}, {Command: "iptables", Package: "iptables"},
		{Command: "ip", Package: "iproute2"},
	})
}

// Start runs the engine and returns when it answers. It outlives this program.
func (o Own) Start(ctx context.Context, log *steps.Log) error {
	if os.Geteuid() != 0 {
		return steps.Advise(errors.New("no container engine answers, and only root can start one"),
			"Start Docker (and set DOCKER_HOST when it listens elsewhere), or run this as root.")
	}
	for _, dir := range []string{o.Dir, o.execRoot()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make engine folder: %w", err)
		}
	}
	if o.pid() > 0 && o.answersWithin(ctx, time.Minute) {
		return nil // a busy host made it slow; ending it would end everyone's clusters
	}
	if err := o.clearStale(log); err != nil {
		return err
	}
	b, err := o.remember(ctx)
	if err != nil {
		return err
	}
	args, err := o.arguments(b)
	if err != nil {
		return err
	}
	if err := o.launch(ctx, log, args); err != nil {
		return err
	}
	// dockerd forbids forwarding between its networks and everything else; pods are such.
	return log.Run(steps.Command(ctx, "iptables", "-P", "FORWARD", "ACCEPT"))
}

func (o Own) answersWithin(ctx context.Context, limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Second) {
		if o.Engine().Answers(ctx) {
			return true
		}
	}
	return false
}

func (o Own) arguments(b before) ([]string, error) {
	args := []string{
		"--data-root", filepath.Join(o.Dir, "data"), "--exec-root", o.execRoot(), "--pidfile", o.pidFile(),
		"--host", o.Host(), "--exec-opt", "native.cgroupdriver=cgroupfs",
		// kind's nodes need a cgroup namespace of their own; on version 1 of cgroups Docker would share the host's.
		"--default-cgroupns-mode", "private",
		"--ip", "127.0.0.1", "--bip", b.Bridge.String(),
		"--default-address-pool", "base=" + b.Pool.String() + ",size=24",
	}
	capped, err := lacksSysResource()
	if err != nil || !capped {
		return args, err
	}
	shim, err := o.installShim()
	if err != nil {
		return nil, err
	}
	return append(args, "--add-runtime", "capped="+shim, "--default-runtime", "capped"), nil
}

func (o Own) launch(ctx context.Context, log *steps.Log, args []string) error {
	out, err := os.Create(o.LogFile())
	if err != nil {
		return fmt.Errorf("create engine log: %w", err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command("dockerd", args...) // no context: it is to outlive this program
	if cmd.Err != nil {
		cmd = exec.Command("/usr/sbin/dockerd", args...)
	}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log.Printf("$ %s", strings.Join(cmd.Args, " "))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for limit := time.After(time.Minute); ; {
		if o.Engine().Answers(ctx) {
			return nil
		}
		select {
		case err := <-ended:
			return o.deadEngine(log, fmt.Errorf("dockerd ended: %w", err))
		case <-limit:
			return o.deadEngine(log, errors.New("dockerd did not answer within a minute"))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// deadEngine shows dockerd's own last words as the step's.
func (o Own) deadEngine(log *steps.Log, err error) error {
	if f, open := os.Open(o.LogFile()); open == nil {
		_, _ = io.Copy(log, f) // the error below is what counts
		_ = f.Close()
	}
	return steps.Advise(err, "dockerd's log: "+o.LogFile())
}

// Stop ends the engine and what it left on the host.
func (o Own) Stop(ctx context.Context, log *steps.Log) error {
	for _, daemon := range []struct {
		name string
		pid  func() int
	}{{"dockerd", o.pid}, {"containerd", o.containerdPID}} {
		if pid := daemon.pid(); pid > 0 {
			log.Printf("stopping %s %d", daemon.name, pid)
			if err := end(pid, 30*time.Second); err != nil {
				return fmt.Errorf("stop %s: %w", daemon.name, err)
			}
		}
	}
	if err := o.clearStale(log); err != nil {
		return err
	}
	if err := mounts.Detach(o.Dir); err != nil { // a dockerd that was killed once leaves its data mounted on itself
		return err
	}
	return o.restore(ctx, log)
}

// pid is dockerd's process, or 0. A PID file alone proves nothing: after a reboot its number is someone else's.
func (o Own) pid() int { return o.process(o.pidFile(), "dockerd") }

// containerdPID is the process of dockerd's own containerd, or 0. It outlives a dockerd that was killed, and the next
// dockerd goes on with it.
func (o Own) containerdPID() int { return o.process(o.containerdPIDFile(), "containerd") }

func (o Own) containerdPIDFile() string {
	return filepath.Join(o.execRoot(), "containerd", "containerd.pid")
}

func (o Own) process(pidFile, name string) int {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(cmdline), o.Dir) {
		return 0
	}
	arg0, _, _ := strings.Cut(string(cmdline), "\x00")
	if filepath.Base(arg0) != name {
		return 0
	}
	return pid
}

// clearStale removes what a dead engine left: dockerd refuses to start while its PID file names any living process, and
// takes whatever process its containerd's PID file names for its containerd. An engine that lives but does not answer
// is ended first.
func (o Own) clearStale(log *steps.Log) error {
	if pid := o.pid(); pid > 0 {
		log.Printf("dockerd %d does not answer: ending it", pid)
		if err := end(pid, 30*time.Second); err != nil {
			return fmt.Errorf("end the dockerd that does not answer: %w", err)
		}
	}
	stale := []string{o.pidFile(), o.socket()}
	if o.containerdPID() == 0 {
		stale = append(stale, o.containerdPIDFile())
	}
	var errs []error
	for _, f := range stale {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// end sends SIGTERM, and SIGKILL when the process is still there after the limit.
func end(pid int, limit time.Duration) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		for stop := time.Now().Add(limit); time.Now().Before(stop); time.Sleep(50 * time.Millisecond) {
			if gone(pid) {
				return nil
			}
		}
	}
	return fmt.Errorf("process %d stays even after SIGKILL", pid)
}

// gone counts a zombie as gone: its parent may never reap it.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}
