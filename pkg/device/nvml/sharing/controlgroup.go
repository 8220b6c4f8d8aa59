//go:build cgo

package sharing

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// daemonsGroup is the control group of all daemons of a node, beside that of its pods.
const daemonsGroup = "dragoman-mps"

// leaveControlGroup moves this process out of its pod's control group where it can. Where it cannot, the daemon ends
// with the pod, and the next one starts it again.
func (l launch) leaveControlGroup(cgroups string) {
	if cgroups == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		_ = moveInto(filepath.Join(cgroups, daemonsGroup))
		return
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || l.plain {
		return
	}
	for line := range strings.Lines(string(groups)) {
		if controllers, beside, ok := besidePods(line); ok {
			_ = l.leaveTree(controllers, beside)
		}
	}
}

// moveInto moves this process into a control group, which it makes if it is not there.
func moveInto(group string) error {
	if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644)
}

// besidePods reads a line of /proc/self/cgroup where control groups are of version 1: each set of controllers has a
// tree of its own (cgroups(7)). It returns the controllers, none for a tree of version 2 beside them, and the group for
// daemons; false outside of a pod.
func besidePods(line string) (controllers, group string, ok bool) {
	fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
	if len(fields) != 3 {
		return "", "", false
	}
	parts := strings.Split(fields[2], "/")
	pods := slices.IndexFunc(parts, func(part string) bool { return strings.Contains(part, "kubepods") })
	if pods < 0 {
		return "", "", false
	}
	return fields[1], path.Join("/", path.Join(parts[:pods]...), daemonsGroup), true
}

// leaveTree moves this process into a group of one tree. A container sees its own part of the tree only, so it is
// mounted once more, in the mount namespace of this process.
func (l launch) leaveTree(controllers, group string) error {
	tree := filepath.Join(l.dir, "cgroup")
	if err := os.Mkdir(tree, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	defer func() { _ = os.Remove(tree) }()
	kind, options := "cgroup", controllers
	if controllers == "" { // that of version 2 beside them, by which systemd knows whom to end
		kind = "cgroup2"
	}
	if strings.HasPrefix(controllers, "name=") {
		options = "none," + controllers
	}
	if err := syscall.Mount(kind, tree, kind, 0, options); err != nil {
		return err
	}
	defer func() { _ = syscall.Unmount(tree, syscall.MNT_DETACH) }()
	inside := filepath.Join(tree, group)
	if err := os.Mkdir(inside, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, inherited := range []string{"cpuset.cpus", "cpuset.mems"} { // a new group has none, and takes nobody without
		if value, err := os.ReadFile(filepath.Join(filepath.Dir(inside), inherited)); err == nil {
			_ = os.WriteFile(filepath.Join(inside, inherited), value, 0o644)
		}
	}
	return moveInto(inside)
}
