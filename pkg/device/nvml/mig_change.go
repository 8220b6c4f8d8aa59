//go:build cgo

package nvml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml/mig"
)

// freePatience is how long a Prepare waits for another claim to give up its place.
const freePatience = 10 * time.Second

// cutPatience is how long a Prepare or Unprepare waits for one GPU to be cut. Destroying an instance takes a second on
// real GPUs.
const cutPatience = 20 * time.Second

// change has something done to a GPU while nobody else changes it, inside a session and a deadline. What hangs keeps
// the GPU to itself until NVML answers.
func (b *Backend) change(
	ctx context.Context, g *gpu, patience time.Duration, what string, do func(s *session, handle nvml.Device) error,
) error {
	release, err := g.take(ctx)
	if err != nil {
		return err
	}
	return within(ctx, patience, what, func() error {
		defer release()
		s, handle, _ := g.grip()
		if s == nil || !s.enter() { // it ended; a look begins another one
			if _, err := b.look(ctx); err != nil {
				return err
			}
			if s, handle, _ = g.grip(); s == nil || !s.enter() {
				return errOver
			}
		}
		defer s.leave()
		return do(s, handle)
	})
}

// cuttable is a GPU as the workshop wants it.
func (b *Backend) cuttable(s *session, g *gpu, handle nvml.Device) (mig.GPU, error) {
	layout, err := b.layoutOf(s, g, handle)
	if err != nil {
		return mig.GPU{}, err
	}
	_, _, f := g.grip()
	return mig.GPU{Device: handle, UUID: g.uuid, Toggles: mig.Toggles(f.architecture), Layout: layout}, nil
}

// makePart makes the part exist and returns what a container needs for it besides its GPU's edits. For admin access it
// changes nothing: a part that comes and goes with a claim is looked at through its GPU.
func (b *Backend) makePart(
	ctx context.Context, r device.Request, i int, t target, remember func(undo json.RawMessage) error,
) (*cdispecs.ContainerEdits, error) {
	if static := t.offer.part.static; static != nil {
		return b.capabilities(t.gpu, *static)
	}
	if isAdmin(r.Devices[i].AdminAccess) {
		return nil, nil
	}
	var made mig.Instance
	order := mig.Order{Claim: r.Claim.UID, Device: t.offer.device.Name, Partition: t.offer.part.partition}
	err := b.cutWhenFree(ctx, t.gpu, "make a MIG instance", func(gpu mig.GPU) (err error) {
		made, err = b.workshop.Create(ctx, gpu, order, remembering(remember))
		return err
	})
	if err != nil {
		return nil, err
	}
	b.kick()
	return b.capabilities(t.gpu, made)
}

// makeWhole takes a GPU that is also offered in parts out of MIG mode. It is makePart for a whole GPU.
func (b *Backend) makeWhole(
	ctx context.Context, r device.Request, i int, t target, remember func(undo json.RawMessage) error,
) (*cdispecs.ContainerEdits, error) {
	if len(t.offer.device.ConsumesCounters) == 0 || isAdmin(r.Devices[i].AdminAccess) {
		return nil, nil
	}
	return nil, b.cutWhenFree(ctx, t.gpu, "leave MIG mode", func(gpu mig.GPU) error {
		return b.workshop.Disable(ctx, gpu, r.Claim.UID, remembering(remember))
	})
}

func remembering(remember func(undo json.RawMessage) error) func(mig.Undo) error {
	return func(u mig.Undo) error {
		raw, err := json.Marshal(u)
		if err != nil {
			return err
		}
		return remember(raw)
	}
}

// cutWhenFree changes how a GPU is cut. Where an instance of another claim is in the way it waits for a while: the
// scheduler gives a place away when the pod that had it is done, and the kubelet may take a moment longer to say so.
// Nobody is kept from taking the other one back meanwhile.
func (b *Backend) cutWhenFree(ctx context.Context, g *gpu, what string, do func(gpu mig.GPU) error) error {
	const pause = 200 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	limited, cancel := context.WithTimeout(ctx, freePatience)
	defer cancel()
	for {
		err := b.change(ctx, g, cutPatience, what+" of GPU "+g.uuid, func(s *session, handle nvml.Device) error {
			gpu, err := b.cuttable(s, g, handle)
			if err != nil {
				return err
			}
			return do(gpu)
		})
		if taken, ok := errors.AsType[*mig.TakenError](err); !ok || taken.Claim == "" {
			return err
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return err
		}
	}
}

func isAdmin(access *bool) bool { return ptr.Deref(access, false) }

// capabilities are the device nodes that let a container use an instance.
func (b *Backend) capabilities(g *gpu, of mig.Instance) (*cdispecs.ContainerEdits, error) {
	_, _, f := g.grip()
	switch {
	case f.minor == nil:
		return nil, fmt.Errorf("the minor number of GPU %s is not known", g.uuid)
	case of.CI == nil:
		return nil, fmt.Errorf("GPU instance %d of GPU %s has no compute instance", of.GI, g.uuid)
	}
	nodes, err := mig.Capabilities(b.options.SysRoot, *f.minor, of.GI, *of.CI)
	if err != nil && b.options.DriverRoot != b.options.SysRoot {
		var more error
		if nodes, more = mig.Capabilities(b.options.DriverRoot, *f.minor, of.GI, *of.CI); more != nil {
			return nil, errors.Join(err, more)
		}
	} else if err != nil {
		return nil, err
	}
	edits := &cdispecs.ContainerEdits{}
	for _, capability := range nodes {
		node, err := b.options.capabilityNode(capability)
		if err != nil {
			return nil, err
		}
		edits.DeviceNodes = append(edits.DeviceNodes, node)
	}
	return edits, nil
}

// capabilityNode is the host's node if there is one, and else one that the container runtime makes by number.
func (o Options) capabilityNode(c mig.Capability) (*cdispecs.DeviceNode, error) {
	node := &cdispecs.DeviceNode{Path: c.Path, Permissions: "rw"}
	here, onHost := o.devRoots()
	switch _, err := os.Stat(filepath.Join(here, c.Path)); {
	case err == nil:
		if node.HostPath = filepath.Join(onHost, c.Path); node.HostPath == c.Path {
			node.HostPath = ""
		}
	case c.Major > 0:
		node.Type, node.Major, node.Minor, node.FileMode = "c", c.Major, c.Minor, new(os.FileMode(0o666))
	default:
		return nil, fmt.Errorf("device node %s is not there (%w), and the kernel does not name the number of nvidia-caps; "+
			"see nvml.devRoot, and nvidia-modprobe on the node", c.Path, err)
	}
	return node, nil
}

// unmakePart takes back what makePart or makeWhole did for a device of the grant's name; undo may be nil.
func (b *Backend) unmakePart(ctx context.Context, g device.Grant, undo json.RawMessage) error {
	if isAdmin(g.Result.AdminAccess) {
		return nil
	}
	var remembered *mig.Undo
	if err := json.Unmarshal(undo, &remembered); err != nil {
		remembered = nil // the book knows too
	}
	parents, err := b.parentsOf(g, remembered)
	if err != nil {
		return err
	}
	for _, parent := range parents {
		err := b.onParent(ctx, parent, g.Claim.UID, func(ctx context.Context, gpu mig.GPU) error {
			if !strings.HasPrefix(g.Result.Device, "mig-") {
				return b.workshop.Enable(ctx, gpu, g.Claim.UID)
			}
			return b.workshop.Destroy(ctx, gpu, g.Claim.UID, g.Result.Device, remembered)
		})
		if err != nil {
			return err
		}
		b.forgetErrors(parent, g.Result.Device, remembered)
	}
	return nil
}

// forgetErrors forgets what the driver reported of an instance that was destroyed: another one gets its number.
func (b *Backend) forgetErrors(parent, device string, remembered *mig.Undo) {
	g := b.gpuByUUID(parent)
	if g == nil {
		return
	}
	if o, ok := g.offers(device); ok && o.instance != nil {
		g.forget(*o.instance)
	}
	if remembered != nil && remembered.GI != nil {
		g.forget(*remembered.GI)
	}
}

// parentsOf returns the GPUs on which something may have to be taken back for a grant: none for almost all of them.
func (b *Backend) parentsOf(g device.Grant, remembered *mig.Undo) ([]string, error) {
	parents := map[string]bool{}
	if remembered != nil && remembered.ParentUUID != "" {
		parents[remembered.ParentUUID] = true
	}
	entries, err := b.workshop.Book.OfClaim(g.Claim.UID, g.Result.Device)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		parents[e.Parent] = true
	}
	disabled, err := b.workshop.Book.Disabled(g.Claim.UID)
	if err != nil {
		return nil, err
	}
	for _, parent := range disabled {
		if gpuName(parent) == g.Result.Device {
			parents[parent] = true
		}
	}
	return sortedKeys(parents), nil
}

// onParent does something with a GPU that something was done to for a claim. If the GPU is gone, so is what was done.
func (b *Backend) onParent(
	ctx context.Context, uuid string, claim types.UID, do func(ctx context.Context, gpu mig.GPU) error,
) error {
	g, err := b.gpuNow(ctx, uuid)
	if err != nil {
		return err
	}
	if g == nil {
		return b.workshop.Book.Forget(uuid, func(of types.UID) bool { return of == claim })
	}
	what := "change the MIG instances of GPU " + uuid
	err = b.change(ctx, g, cutPatience, what, func(s *session, handle nvml.Device) error {
		gpu, err := b.cuttable(s, g, handle)
		if err != nil {
			return err
		}
		return do(ctx, gpu)
	})
	b.kick()
	return err
}

// gpuNow returns the GPU with a UUID, or nil if the node does not have it. An error says that nobody knows.
func (b *Backend) gpuNow(ctx context.Context, uuid string) (*gpu, error) {
	if g := b.gpuByUUID(uuid); g != nil {
		return g, nil
	}
	if _, err := b.look(ctx); err != nil {
		return nil, err
	}
	return b.gpuByUUID(uuid), nil
}

// sweepParts destroys the parts of claims that nobody knows.
func (b *Backend) sweepParts(ctx context.Context, known func(claim types.UID) bool) error {
	parents, err := b.workshop.Book.Parents()
	if err != nil {
		return err
	}
	var problems []error
	for _, uuid := range parents {
		g, err := b.gpuNow(ctx, uuid)
		switch {
		case err != nil:
			problems = append(problems, err)
		case g == nil:
			problems = append(problems, b.workshop.Book.Forget(uuid, func(of types.UID) bool { return !known(of) }))
		default:
			problems = append(problems, b.onParent(ctx, uuid, "", func(ctx context.Context, gpu mig.GPU) error {
				return b.workshop.Sweep(ctx, gpu, known)
			}))
		}
	}
	return errors.Join(problems...)
}
