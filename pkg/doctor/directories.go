package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/device"
)

// kubelet looks for the directories in which the kubelet and its plugins find each other.
func kubelet(_ context.Context, o Options) []device.Finding {
	const subject = "kubelet directories"
	registry := filepath.Join(o.KubeletDir, "plugins_registry")
	if err := writable(registry); err != nil {
		return bad(subject, "the kubelet looks for plugins in plugins_registry below its root directory: "+err.Error(),
			"run this on the node, with the kubelet running, as root; set --kubelet-dir to the kubelet's --root-dir")
	}
	plugins := filepath.Join(o.KubeletDir, "plugins")
	if err := writable(nearest(filepath.Join(plugins, o.DriverName))); err != nil {
		return bad(subject, "the driver's sockets go below "+plugins+": "+err.Error(), "run this as root")
	}
	return good(subject, registry+" is there")
}

func cdiDirectory(_ context.Context, o Options) []device.Finding {
	const subject = "CDI directory"
	if err := writable(nearest(o.CDIDir)); err != nil {
		return bad(subject, "CDI files go there: "+err.Error(),
			"run this as root; --cdi-dir must be one of the container runtime's CDI directories")
	}
	return good(subject, o.CDIDir+" can be written")
}

// stateDirectory must be emptied by a reboot, together with what it is about.
func stateDirectory(_ context.Context, o Options) []device.Finding {
	const subject = "state directory"
	own := filepath.Join(o.StateDir, o.DriverName) // in a pod it alone is the node's
	dir := nearest(own)
	if err := writable(dir); err != nil {
		return bad(subject, "records of prepared claims go there: "+err.Error(), "run this as root, or set --state-dir")
	}
	var file unix.Statfs_t
	if err := unix.Statfs(dir, &file); err == nil && file.Type != unix.TMPFS_MAGIC {
		return doubtful(subject, own+" is not on a tmpfs, so a reboot does not empty it",
			"mount a tmpfs on /run, or set --state-dir to a directory on one")
	}
	return good(subject, own+" is on a tmpfs")
}

// otherPlugins finds device plugins, which hand out GPUs without asking the scheduler's view of DRA.
func otherPlugins(_ context.Context, o Options) []device.Finding {
	const subject = "device plugins"
	dir := filepath.Join(o.KubeletDir, "device-plugins")
	entries, err := os.ReadDir(dir)
	if err != nil { // a kubelet makes the directory; a pod does not see it
		return doubtful(subject, "cannot be told: "+err.Error(),
			"run this on the node as root; \"kubectl describe node\" shows what they offer under Allocatable")
	}
	var gpus []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, ".sock") && (strings.Contains(name, "gpu") || strings.Contains(name, "nvidia")) {
			gpus = append(gpus, name)
		}
	}
	if len(gpus) > 0 {
		return doubtful(subject, fmt.Sprintf("%s in %s looks like a device plugin for GPUs", strings.Join(gpus, ", "), dir),
			"take it off this node if it hands out the same GPUs: it and DRA do not know of each other's users")
	}
	return good(subject, "none for GPUs")
}

// nearest returns dir, or the first directory above it that is there: what is missing will be made.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func writable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
