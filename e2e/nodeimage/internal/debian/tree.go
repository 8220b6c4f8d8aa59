package debian

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/dragoman/e2e/nodeimage/internal/mounts"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// NodePackages is what a node has from Debian: the list of kind's own base image, less network file systems.
func NodePackages() []string {
	return []string{
		"systemd", "dbus", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod",
		"libseccomp2", "pigz", "e2fsprogs", "bash", "ca-certificates", "curl", "jq", "procps", "runc",
	}
}

// unwanted is what a node never reads, and what kind's base image takes away: units that make no sense in a container.
func unwanted() []string {
	return []string{
		"var/lib/apt/lists/*", "var/cache/apt/*", "var/cache/debconf/*-old", "var/log/*.log", "var/log/apt",
		"usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*",
		"lib/systemd/system/multi-user.target.wants/*",
		"lib/systemd/system/local-fs.target.wants/*",
		"lib/systemd/system/basic.target.wants/*",
		"lib/systemd/system/sockets.target.wants/*udev*",
		"lib/systemd/system/sockets.target.wants/*initctl*",
		"lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
		"etc/systemd/system/*.wants/*",
	}
}

// MakeTree installs the node's Debian into dir, which is made anew.
func MakeTree(ctx context.Context, log *steps.Log, suite, dir string) error {
	if err := RemoveTree(dir); err != nil {
		return err
	}
	cmd := steps.Command(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(NodePackages(), ","),
		suite, dir, Mirror(suite))
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive",
		"PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	if err := log.Run(cmd); err != nil {
		return steps.Advise(err, "Needed: root, and a Debian mirror (tried "+Mirror(suite)+").")
	}
	for _, pattern := range unwanted() {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("trim Debian tree: %w", err)
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("trim Debian tree: %w", err)
			}
		}
	}
	return nil
}

// RemoveTree removes a tree, unmounting first what an interrupted debootstrap left mounted in it: its /proc and /sys
// are the host's.
func RemoveTree(dir string) error {
	if err := mounts.Detach(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove tree: %w", err)
	}
	return nil
}
