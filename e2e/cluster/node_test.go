package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// patience bounds every wait for something that normally takes seconds, on a machine that is busy with other things.
// The kubelet alone waits up to 90 s before it tries again what failed.
const patience = 3 * time.Minute

// node is a node of the cluster; a container of the same name is its machine.
type node string

// run runs a command on the node and returns what it prints.
func (n node) run(ctx context.Context, command ...string) (string, error) {
	return docker(ctx, append([]string{"exec", string(n)}, command...)...)
}

func (n node) mustRun(t *testing.T, command ...string) string {
	t.Helper()
	output, err := n.run(t.Context(), command...)
	if err != nil {
		t.Fatalf("on node %s: %v", n, err)
	}
	return output
}

func docker(ctx context.Context, args ...string) (string, error) {
	return program(ctx, "docker", args...)
}

func program(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, problems.String())
	}
	return out.String(), nil
}

// filesOf returns the files about a claim on the node: what the runtime reads of it, and what the driver remembers.
func (n node) filesOf(ctx context.Context, uid types.UID) ([]string, error) {
	output, err := n.run(ctx, "find", "/run/cdi", "/run/dragoman", "-name", "*"+string(uid)+"*", "-size", "+0")
	return strings.Fields(output), err
}

// connect makes the network between pods again, which a restart of a node's machine takes away.
func connect(ctx context.Context) error {
	args := []string{"network", "--name", clusterName}
	if cache := os.Getenv("DRAGOMAN_CACHE"); cache != "" {
		args = append(args, "--cache", cache)
	}
	_, err := program(ctx, nodeimage, args...)
	return err
}

// poll calls check until it returns nil; at the end of ctx it returns the last error.
func poll(ctx context.Context, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := check(ctx); err != nil {
			if ctx.Err() == nil {
				last = err // not that the time is up
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// until waits until check returns nil, and fails the test with its last error when patience ends.
func until(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	if err := poll(ctx, check); err != nil {
		t.Fatalf("%s: not within %v: %v", what, time.Since(start).Round(time.Second), err)
	}
}
