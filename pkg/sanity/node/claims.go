package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

// Free returns so many devices that can be allocated at once. If the driver publishes fewer, the case is not run.
func (n *Node) Free(t *suite.T, count int) []cluster.Device {
	devices, err := n.Cluster.Free(t.Context(), count)
	if few := (cluster.NotEnough{}); errors.As(err, &few) {
		t.NotRun("%v", few)
	}
	t.Must(err, "look for free devices")
	return devices
}

// Claim makes an allocated claim, which is unprepared and deleted when the case ends.
func (n *Node) Claim(t *suite.T, name string, a cluster.Allocation) kubelet.Claim {
	claim, err := n.Cluster.Claim(t.Context(), name, a)
	return n.made(t, claim, err)
}

// ClaimNamed is Claim with exactly this name.
func (n *Node) ClaimNamed(t *suite.T, name string, a cluster.Allocation) kubelet.Claim {
	claim, err := n.Cluster.ClaimNamed(t.Context(), name, a)
	return n.made(t, claim, err)
}

func (n *Node) made(t *suite.T, claim kubelet.Claim, err error) kubelet.Claim {
	if claim.Name != "" {
		n.mutex.Lock()
		if n.ever == nil {
			n.ever = map[types.UID]bool{}
		}
		n.ever[claim.UID] = true
		n.mutex.Unlock()
		n.tidy(t, claim)
	}
	if errors.Is(err, cluster.ErrDropped) {
		t.NotRun("%v", err)
	}
	t.Must(err, "make a claim")
	return claim
}

// Exclusive makes a claim for so many free devices.
func (n *Node) Exclusive(t *suite.T, name string, devices int) kubelet.Claim {
	return n.Claim(t, name, n.Cluster.Allocate(n.Free(t, devices)...))
}

// tidy makes the kubelet unprepare the claim when the case ends, as it does when the pod is gone; then nothing of it
// may be left. If that goes wrong, no later case gets the claim's devices.
func (n *Node) tidy(t *suite.T, claim kubelet.Claim) {
	t.Cleanup(func(ctx context.Context) {
		if err := n.unprepareAtLast(ctx, claim); err != nil {
			t.Errorf("unprepare the claim %s at the end of the case: %v", claim.Name, err)
			if err := n.Cluster.Abandon(ctx, claim); err != nil {
				t.Errorf("tidy up: %v", err)
			}
			return
		}
		n.NothingLeft(t, claim.UID)
		if err := n.Cluster.Delete(ctx, claim); err != nil {
			t.Errorf("tidy up: %v", err)
		}
	})
}

// unprepareAtLast starts the driver if the case left none.
func (n *Node) unprepareAtLast(ctx context.Context, claim kubelet.Claim) error {
	if n.Subject.Foreground() && len(n.Subject.Running()) == 0 {
		if _, err := n.Subject.Start(ctx); err != nil {
			return err
		}
	}
	registering, cancel := n.whileItRuns(ctx)
	defer cancel()
	plugin, err := n.Kubelet().Registered(registering, n.Cluster.Driver)
	if err != nil {
		return err
	}
	return plugin.UnprepareOne(ctx, claim)
}

// Prepare prepares a claim, which has to go well, and its CDI IDs have to resolve.
func (n *Node) Prepare(t *suite.T, plugin *kubelet.Plugin, claim kubelet.Claim) kubelet.Prepared {
	prepared, err := plugin.PrepareOne(t.Context(), claim)
	t.Must(err, "prepare the claim %s (%s)", claim.Name, claim.UID)
	n.Resolves(t, claim, prepared)
	return prepared
}

// Unprepare unprepares a claim, which has to go well and to leave nothing.
func (n *Node) Unprepare(t *suite.T, plugin *kubelet.Plugin, claim kubelet.Claim) {
	t.Must(plugin.UnprepareOne(t.Context(), claim), "unprepare the claim %s (%s)", claim.Name, claim.UID)
	n.NothingLeft(t, claim.UID)
}

// Same compares two answers for a claim: the same devices with the same CDI IDs.
func (n *Node) Same(t *suite.T, when string, before, after kubelet.Prepared) {
	if !slices.EqualFunc(before.Devices, after.Devices, sameDevice) {
		t.Errorf("%s the answer is another one: before %+v, now %+v; the kubelet gives containers what the first answer "+
			"said, so repeat it", when, before.Devices, after.Devices)
	}
}

func sameDevice(a, b kubelet.Device) bool {
	return a.Pool == b.Pool && a.Device == b.Device && slices.Equal(a.Requests, b.Requests) &&
		slices.Equal(a.CDIDeviceIDs, b.CDIDeviceIDs)
}

// Container returns what a container runtime makes of the CDI IDs of a driver's answer, with all files of the CDI
// directory valid. An answer without CDI IDs is a container without changes.
func (n *Node) Container(prepared kubelet.Prepared) (specs.Spec, error) {
	return n.Inject(prepared.IDs()...)
}

// Inject returns what a container runtime makes of these CDI IDs.
func (n *Node) Inject(ids ...string) (specs.Spec, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(n.Dirs.CDI), cdi.WithAutoRefresh(false))
	if err != nil {
		return specs.Spec{}, fmt.Errorf("read the CDI directory %s: %w", n.Dirs.CDI, err)
	}
	for path, problems := range cache.GetErrors() {
		return specs.Spec{}, fmt.Errorf("the CDI file %s is not valid: %w", path, errors.Join(problems...))
	}
	var container specs.Spec
	if len(ids) == 0 {
		return container, nil
	}
	unresolved, err := cache.InjectDevices(&container, ids...)
	if len(unresolved) > 0 {
		return specs.Spec{}, fmt.Errorf("no file in %s has the CDI devices %s", n.Dirs.CDI, strings.Join(unresolved, ", "))
	}
	if err != nil {
		return specs.Spec{}, fmt.Errorf("inject the CDI devices: %w", err)
	}
	return container, nil
}

// Resolves checks that a container runtime can use the answer.
func (n *Node) Resolves(t *suite.T, claim kubelet.Claim, prepared kubelet.Prepared) {
	if _, err := n.Container(prepared); err != nil {
		t.Errorf("the claim %s is prepared and its container cannot start: %v", claim.Name, err)
	}
}

// Traces returns the files and directories that have the UID of a claim in their name.
func (n *Node) Traces(uid types.UID) ([]string, error) {
	var found []string
	for _, dir := range n.stateful() {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.Contains(filepath.Base(path), string(uid)) {
				found = append(found, path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for files of a claim: %w", err)
		}
	}
	return found, nil
}

func (n *Node) stateful() []string {
	dirs := append([]string{n.Dirs.CDI, n.Dirs.Plugin}, n.Dirs.Leftovers...)
	if n.Dirs.State != "" {
		dirs = append(dirs, n.Dirs.State)
	}
	return dirs
}

// NothingLeft checks that no file has a claim's UID in its name.
func (n *Node) NothingLeft(t *suite.T, uid types.UID) {
	found, err := n.Traces(uid)
	t.Must(err, "look for what is left of a claim")
	if len(found) > 0 {
		t.Errorf("the claim %s is unprepared and this is left of it: %s", uid, strings.Join(found, ", "))
	}
}
