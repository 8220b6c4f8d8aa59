// Package host notes what a machine is like before a container engine runs on it, and afterwards puts back what engine
// and nodes have changed and nobody else would.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// State is what the host is like.
type State struct {
	Boot    string // of which boot of the machine this is said
	Sysctls map[string]string
	Links   []string            // names of the network links
	Folders []string            // those of runFolders that are there
	Rules   map[string][]string // what "iptables -t filter -S" and its like print, by command line
}

// sysctls are those that dockerd, the kubelet or a node's systemd are known to set. Forwarding comes in this order
// because writing net.ipv4.ip_forward changes others.
func sysctls() []string {
	return []string{
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "kernel/pid_max", "fs/file-max", "fs/nr_open",
		"net/netfilter/nf_conntrack_max",
	}
}

// runFolders are made by dockerd and its containers outside its own folders, the inner ones first.
func runFolders() []string {
	return []string{"/run/containerd/s", "/run/containerd", "/run/docker/plugins", "/run/docker"}
}

// Look notes what the host is like now.
func Look(ctx context.Context) (State, error) {
	s := State{Sysctls: map[string]string{}, Rules: map[string][]string{}}
	var err error
	if s.Boot, err = boot(); err != nil {
		return s, err
	}
	for _, name := range sysctls() {
		if v, err := os.ReadFile("/proc/sys/" + name); err == nil {
			s.Sysctls[name] = strings.TrimSpace(string(v))
		}
	}
	for _, table := range tables() {
		if s.Rules[table], err = rules(ctx, table); err != nil {
			return s, err
		}
	}
	s.Folders = slices.DeleteFunc(runFolders(), func(f string) bool { return !cache.Exists(f) })
	s.Links, err = links()
	return s, err
}

// ThisBoot tells whether the state was noted since the machine booted. What was changed before that is gone by itself.
func (s State) ThisBoot() bool {
	now, err := boot()
	return err == nil && s.Boot == now
}

func boot() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(id), nil
}

// Restore undoes what a Docker with the given networks has done to the host since the state was noted. It does all it
// can, whatever fails on the way.
func (s State) Restore(ctx context.Context, log *steps.Log, networks []netip.Prefix) error {
	var errs []error
	for _, table := range tables() {
		now, err := rules(ctx, table)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, args := range undoRules(s.Rules[table], now, networks) {
			errs = append(errs, log.Run(tableCommand(ctx, table, args...)))
		}
	}
	now, err := links()
	errs = append(errs, err)
	for _, link := range leftLinks(s.Links, now, attached) {
		errs = append(errs, log.Run(steps.Command(ctx, "ip", "link", "delete", link)))
	}
	errs = append(errs, restoreSysctls(s.Sysctls), removeCgroups(), removeFolders(s.Folders))
	return errors.Join(errs...)
}

func bridgeName(link string) bool {
	return regexp.MustCompile(`^(docker0|br-[0-9a-f]{12})$`).MatchString(link)
}

// leftLinks are Docker's bridges, and ends of its cables that hang in the air, which a dockerd that was killed forgets.
// What was there before, and what is plugged in somewhere, is not ours.
func leftLinks(before, now []string, attached func(link string) bool) []string {
	cable := regexp.MustCompile(`^veth[0-9a-f]{7}$`)
	return slices.DeleteFunc(now, func(l string) bool {
		left := bridgeName(l) || cable.MatchString(l) && !attached(l)
		return !left || slices.Contains(before, l)
	})
}

// attached tells whether a link is a port of some bridge.
func attached(link string) bool { return cache.Exists("/sys/class/net/" + link + "/master") }

func links() ([]string, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network links: %w", err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	return names, nil
}

func restoreSysctls(before map[string]string) error {
	var errs []error
	for _, name := range sysctls() {
		path := "/proc/sys/" + name
		now, err := os.ReadFile(path)
		was, known := before[name]
		if err != nil || !known || strings.TrimSpace(string(now)) == was {
			continue
		}
		errs = append(errs, os.WriteFile(path, []byte(was), 0o644))
	}
	return errors.Join(errs...)
}

// removeFolders removes what is empty and was not there before.
func removeFolders(before []string) error {
	var errs []error
	for _, f := range runFolders() {
		err := error(nil)
		if !slices.Contains(before, f) {
			err = os.Remove(f)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) { // another engine's
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes Docker's empty control groups: one of each hierarchy on version 1, a single one on version 2.
func removeCgroups() error {
	const root = "/sys/fs/cgroup"
	found, err := filepath.Glob(root + "/*/docker")
	if err != nil {
		return err
	}
	var errs []error
	for _, group := range append(found, root+"/docker") {
		var dirs []string
		err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // groups come and go
		})
		errs = append(errs, err)
		slices.Reverse(dirs) // children before parents
		for _, d := range dirs {
			err := os.Remove(d)
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EBUSY) { // busy: another engine's
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
