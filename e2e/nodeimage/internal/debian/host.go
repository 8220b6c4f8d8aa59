// Package debian installs packages on a Debian host and makes Debian trees for nodes.
package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

const policyFile = "/usr/sbin/policy-rc.d"

// Need is a command that has to be there, and the package that brings it.
type Need struct{ Command, Package string }

// Missing returns the packages of those commands that are not there.
func Missing(needs []Need) []string {
	var packages []string
	for _, n := range needs {
		if !present(n.Command) {
			packages = append(packages, n.Package)
		}
	}
	return packages
}

// present also looks into the sbin folders, which a plain user's PATH lacks.
func present(command string) bool {
	if _, err := exec.LookPath(command); err == nil {
		return true
	}
	return cache.Exists("/usr/sbin/"+command) || cache.Exists("/sbin/"+command)
}

// CanInstall says why packages cannot be installed here, or nil.
func CanInstall() error {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil || osRelease(string(release), "ID") != "debian" {
		return errors.New("this host is not Debian")
	}
	if os.Geteuid() != 0 {
		return errors.New("this user is not root")
	}
	return nil
}

// Install installs packages without letting their services start.
func Install(ctx context.Context, log *steps.Log, packages []string) error {
	allow, err := denyServices()
	if err != nil {
		return err
	}
	defer allow()
	// Third-party sources that do not answer are no reason to stop: the install below tells whether it was needed.
	if err := log.Run(apt(ctx, "update")); err != nil {
		log.Printf("apt-get update: %v; going on", err)
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	err = log.Run(apt(ctx, args...))
	return steps.Advise(err, "Needed: a Debian mirror that apt-get can reach, or these packages installed beforehand: "+
		strings.Join(packages, " "))
}

func apt(ctx context.Context, args ...string) *exec.Cmd {
	cmd := steps.Command(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return cmd
}

// denyServices puts up Debian's own sign for "start no services" until the returned function takes it down.
// A host that has such a policy already keeps it.
func denyServices() (func(), error) {
	f, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", policyFile, err)
	}
	_, err = f.WriteString("#!/bin/sh\n# nodeimage: services do not start while it installs packages\nexit 101\n")
	return func() { _ = os.Remove(policyFile) }, errors.Join(err, f.Close())
}

// osRelease reads a value of an os-release file.
func osRelease(text, key string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}
