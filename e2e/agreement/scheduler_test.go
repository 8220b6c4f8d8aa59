package agreement

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"example.com/dragoman/pkg/sanity/gobuild"
)

// findScheduler returns the kube-scheduler of a release: that of the variable TEST_ASSET_KUBE_SCHEDULER if it is of
// this release, else that of the cache, which is built where there is none. With Go's caches cold that takes minutes.
func findScheduler(ctx context.Context, version string, say func(format string, args ...any)) (string, error) {
	if given := os.Getenv("TEST_ASSET_KUBE_SCHEDULER"); given != "" {
		said, err := exec.CommandContext(ctx, given, "--version").Output()
		if err == nil && strings.TrimSpace(string(said)) == "Kubernetes "+version {
			return given, nil
		}
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	cache := filepath.Join(user, "dra-sanity")
	program := filepath.Join(cache, "bin", "kube-scheduler-"+version)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", fmt.Errorf("make the folder of programs: %w", err)
	}
	half, err := os.MkdirTemp(filepath.Dir(program), "kube-scheduler-half-")
	if err != nil {
		return "", fmt.Errorf("make a folder to build in: %w", err)
	}
	defer os.RemoveAll(half) //nolint:errcheck // in the cache
	log := new(strings.Builder)
	begin := time.Now()
	builder := gobuild.Builder{Work: filepath.Join(half, "build")}
	if err := builder.Build(ctx, log, gobuild.Kubernetes(version, "kube-scheduler"), half); err != nil {
		return "", fmt.Errorf("build kube-scheduler: %w\n%s", err, log)
	}
	say("built kube-scheduler %s in %v", version, time.Since(begin).Round(time.Second))
	if err := os.Rename(filepath.Join(half, "kube-scheduler"), program); err != nil {
		return "", fmt.Errorf("keep kube-scheduler: %w", err)
	}
	return program, nil
}

// scheduler is a running kube-scheduler. It ends with stop, and with this process however that ends.
type scheduler struct {
	log   string
	pid   int
	ended chan struct{}
}

// startScheduler starts the program beside an API server, with its files in dir.
func startScheduler(program, dir, kubeconfig, gates string) (*scheduler, error) {
	// Whoever has to try again does so soon; otherwise it is the configuration of a cluster.
	config := filepath.Join(dir, "kube-scheduler.yaml")
	err := os.WriteFile(config, []byte(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: "`+kubeconfig+`", qps: 1000, burst: 2000}
leaderElection: {leaderElect: false}
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 1
`), 0o600)
	if err != nil {
		return nil, fmt.Errorf("configure kube-scheduler: %w", err)
	}
	s := &scheduler{log: filepath.Join(dir, "kube-scheduler.log"), ended: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, fmt.Errorf("keep the log of kube-scheduler: %w", err)
	}
	cmd := exec.Command(program, "--config="+config, "--feature-gates="+gates, "--secure-port=0")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the starting thread ends, so this one has to stay.
		runtime.LockOSThread()
		defer func() { _ = log.Close() }()
		err := cmd.Start()
		if err == nil {
			s.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(s.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start kube-scheduler: %w", err)
	}
	return s, nil
}

// stop ends it and waits until it is gone. That it was gone before is an error, with the end of its log.
func (s *scheduler) stop() error {
	select {
	case <-s.ended:
		content, err := os.ReadFile(s.log)
		if err != nil {
			return fmt.Errorf("kube-scheduler has ended by itself: %w", err)
		}
		lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
		return fmt.Errorf("kube-scheduler has ended by itself; the end of its log:\n%s",
			strings.Join(lines[max(0, len(lines)-40):], "\n"))
	default:
	}
	err := syscall.Kill(s.pid, syscall.SIGKILL)
	<-s.ended
	return err
}
