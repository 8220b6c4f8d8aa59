package dockerd

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
)

// ShimName is the name under which this program is an OCI runtime.
//
// Why: "docker run --privileged" and "docker exec --privileged", which kind uses, ask runc for every capability there
// is. On a host whose bounding set lacks one, runc refuses. The shim takes the one that restricted hosts lack out of
// the request and becomes runc.
const ShimName = "runc-capped"

const dropped = "CAP_SYS_RESOURCE"

// lacksSysResource tells whether this process, and so every container it starts, can never have CAP_SYS_RESOURCE.
func lacksSysResource() (bool, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		hex, ok := strings.CutPrefix(line, "CapBnd:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return false, fmt.Errorf("read own capabilities: %w", err)
		}
		return set&(1<<unix.CAP_SYS_RESOURCE) == 0, nil
	}
	return false, nil
}

// installShim copies this program to where it stays: the one that runs may be a temporary file of "go run".
func (o Own) installShim() (string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("open own program: %w", err)
	}
	defer func() { _ = self.Close() }()
	path := filepath.Join(o.Dir, "bin", ShimName)
	err = cache.Write(path, 0o755, func(w io.Writer) error {
		_, err := io.Copy(w, self)
		return err
	})
	return path, err
}

// RunShim edits the request that a runtime's arguments point to and becomes runc. It returns only an error.
func RunShim(args []string) error {
	for i, a := range args {
		key, value, ok := strings.Cut(a, "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		var err error
		switch key {
		case "--bundle", "-b":
			err = capFile(filepath.Join(value, "config.json"), "process", "capabilities")
		case "--process", "-p":
			err = capFile(value, "capabilities")
		}
		if err != nil {
			return err
		}
	}
	runc := "/usr/sbin/runc"
	if !cache.Exists(runc) {
		runc = "/usr/bin/runc"
	}
	return fmt.Errorf("become %s: %w", runc, syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ()))
}

func capFile(file string, path ...string) error {
	in, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	out, err := dropCapability(in, path...)
	if err != nil || out == nil {
		return err
	}
	if err := os.WriteFile(file, out, 0o600); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	return nil
}

// dropCapability takes the capability out of every list in the object under path; nil when there is nothing to do.
func dropCapability(in []byte, path ...string) ([]byte, error) {
	if !strings.Contains(string(in), dropped) {
		return nil, nil
	}
	var doc map[string]any
	dec := json.NewDecoder(strings.NewReader(string(in)))
	dec.UseNumber() // numbers come back as they were written
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	lists := doc
	for _, p := range path {
		next, ok := lists[p].(map[string]any)
		if !ok {
			return nil, nil
		}
		lists = next
	}
	for name, list := range lists {
		if l, ok := list.([]any); ok {
			lists[name] = slices.DeleteFunc(l, func(x any) bool { return x == dropped })
		}
	}
	return json.Marshal(doc)
}
