package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// storeConfig runs a containerd that only keeps images: everything that would run containers, watch them or touch this
// host is off.
const storeConfig = `version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart",
  "io.containerd.monitor.task.v1.cgroups", "io.containerd.monitor.container.v1.restart",
]
[grpc]
  address = %q
`

// fillStore imports images into a containerd store by running the node's own containerd here, its root in the tree.
func (m Maker) fillStore(ctx context.Context, log *steps.Log, images, root string) error {
	bin := m.bin(containerd(m.Set))
	run := filepath.Join(m.Work, "run")
	if err := os.RemoveAll(run); err != nil {
		return fmt.Errorf("remove old containerd state: %w", err)
	}
	if err := os.MkdirAll(run, 0o700); err != nil {
		return fmt.Errorf("make containerd state: %w", err)
	}
	socket, config := filepath.Join(run, "c.sock"), filepath.Join(run, "config.toml")
	text := fmt.Sprintf(storeConfig, root, filepath.Join(run, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write containerd config: %w", err)
	}
	daemon := steps.Command(ctx, filepath.Join(bin, "containerd"), "-c", config)
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	ctr := func(args ...string) error {
		return log.Run(steps.Command(ctx, filepath.Join(bin, "ctr"), append([]string{"-a", socket}, args...)...))
	}
	err := await(ctx, 30*time.Second, func() error { return ctr("version") })
	if err == nil {
		// Pinned, so that the kubelet's garbage collection keeps what no registry could give back.
		err = ctr("-n", "k8s.io", "images", "import", "--label=io.cri-containerd.pinned=pinned", "--all-platforms",
			"--no-unpack", images)
	}
	// The store is only whole after containerd has ended.
	if stop := daemon.Process.Signal(syscall.SIGTERM); err == nil && stop != nil {
		err = fmt.Errorf("stop containerd: %w", stop)
	}
	if wait := daemon.Wait(); err == nil && wait != nil {
		err = fmt.Errorf("end containerd: %w", wait)
	}
	return err
}

// await repeats try until it succeeds, ctx ends or the time is up.
func await(ctx context.Context, limit time.Duration, try func() error) error {
	for end := time.Now().Add(limit); ; {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
