//go:build cgo

package nvml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml/driverroot"
	"example.com/dragoman/pkg/device/nvml/mig"
	"example.com/dragoman/pkg/device/nvml/sharing"
)

const (
	// settingPatience is how long a Prepare or Unprepare waits for a GPU's settings. nvidia-smi takes half a second.
	settingPatience = 25 * time.Second
	// reviveEvery is how often daemons are looked at, and revivePatience how long one may take to start.
	reviveEvery    = 2 * time.Second
	revivePatience = 15 * time.Second
)

// equip gives the backend the rooms that change GPUs.
func (b *Backend) equip() {
	o := b.options
	b.workshop = &mig.Workshop{
		Book:   mig.Book{Dir: filepath.Join(o.Dir, "mig")},
		Report: func(problem error) { b.warnOnce("a MIG mode could not be set back", "err", problem) },
	}
	b.keeper = &sharing.Keeper{Dir: filepath.Join(o.Dir, "settings"), SMI: b.smi}
	b.mps = &sharing.MPS{
		Dir: filepath.Join(o.Dir, "mps"), Root: o.DriverRoot, Self: o.Self, Arguments: []string{MPSDaemonCommand},
		ControlGroups: "/sys/fs/cgroup",
		Program: func() (string, error) {
			found, err := o.program("nvidia-cuda-mps-control")
			return moved(found, o.DriverRoot, "/"), err
		},
	}
	if b.mps.Self == "" {
		b.mps.Self, _ = os.Executable() // without it no daemon starts, and the error names the empty path
	}
}

func (o Options) program(name string) (string, error) {
	found, searched := driverroot.Root(o.DriverRoot).Program(name)
	if found == "" {
		return "", fmt.Errorf("%s of NVIDIA's driver is not there (driver root %s, searched: %v); see nvml.driverRoot",
			name, o.DriverRoot, searched)
	}
	return found, nil
}

func (b *Backend) smi() (sharing.SMI, error) {
	path, err := b.options.program("nvidia-smi")
	if err != nil {
		return sharing.SMI{}, err
	}
	smi := sharing.SMI{Path: path}
	if s := b.current(); s != nil {
		smi.Library = s.path
	}
	return smi, nil
}

// sharingUndo is what taking back the sharing of one device needs.
type sharingUndo struct {
	UUID     string           `json:"uuid,omitempty"`
	Settings *sharing.Changes `json:"settings,omitempty"`
	Daemon   string           `json:"daemon,omitempty"`
}

// sharingCall is one request whose configuration is applied.
type sharingCall struct {
	*Backend
	request  device.Request
	targets  []target
	want     sharing.Want
	undo     []sharingUndo
	remember func(i int, undo json.RawMessage) error
}

// share applies the request's configuration to its devices and returns what containers need for each of them because
// of it, in the order of the devices; nil for one that needs nothing.
func (b *Backend) share(
	ctx context.Context, r device.Request, targets []target, remember func(i int, undo json.RawMessage) error,
) ([]*cdispecs.ContainerEdits, error) {
	edits := make([]*cdispecs.ContainerEdits, len(targets))
	config, ok := r.Config.(*gpuv1alpha1.GpuConfig)
	if !ok {
		return nil, fmt.Errorf("share GPUs: configuration %T instead of GpuConfig", r.Config)
	}
	want, err := sharing.WantOf(config, groupOf(r, targets))
	if err != nil {
		return nil, &device.RefusedError{Reason: err}
	}
	if want.Nothing() {
		return edits, nil
	}
	c := &sharingCall{
		Backend: b, request: r, targets: targets, want: want, undo: make([]sharingUndo, len(targets)), remember: remember,
	}
	var id string
	if want.MPS != nil {
		first := slices.IndexFunc(r.All, func(a resourceapi.DeviceRequestAllocationResult) bool {
			return a.Request == r.Devices[0].Request && a.Device == r.Devices[0].Device
		})
		id = sharing.ID(r.Claim.UID, max(first, 0))
	}
	for i := range targets {
		if err := c.set(ctx, i, id); err != nil {
			return nil, fmt.Errorf("share device %s: %w", targets[i].offer.device.Name, err)
		}
	}
	if want.MPS == nil {
		return edits, nil
	}
	if err := c.startDaemon(ctx, id); err != nil {
		return nil, err
	}
	for i := range edits {
		edits[i] = b.mps.Edits(id)
	}
	return edits, nil
}

func groupOf(r device.Request, targets []target) sharing.Group {
	group := sharing.Group{Devices: len(targets)}
	for i, t := range targets {
		if t.offer.part != nil {
			group.MIG++
		}
		group.Admin = group.Admin || isAdmin(r.Devices[i].AdminAccess)
	}
	return group
}

// set remembers the daemon of a device and changes the settings of its GPU, if it is a whole one.
func (c *sharingCall) set(ctx context.Context, i int, daemon string) error {
	g := c.targets[i].gpu
	c.undo[i] = sharingUndo{UUID: g.uuid, Daemon: daemon}
	if daemon != "" {
		if err := c.keep(i); err != nil {
			return err
		}
	}
	if c.targets[i].offer.part != nil {
		return nil
	}
	what := "set how GPU " + g.uuid + " is shared"
	return c.change(ctx, g, settingPatience, what, func(_ *session, handle nvml.Device) error {
		gpu := sharing.GPU{Handle: handle, UUID: g.uuid}
		return c.keeper.Apply(ctx, gpu, c.request.Claim.UID, c.want, func(changes sharing.Changes) error {
			c.undo[i].Settings = &changes
			return c.keep(i)
		})
	})
}

func (c *sharingCall) keep(i int) error {
	raw, err := json.Marshal(c.undo[i])
	if err != nil {
		return err
	}
	return c.remember(i, raw)
}

func (c *sharingCall) startDaemon(ctx context.Context, id string) error {
	var uuids []string
	for _, t := range c.targets {
		uuid, err := c.uuidOf(ctx, t)
		if err != nil {
			return err
		}
		uuids = append(uuids, uuid)
	}
	daemon, err := sharing.DaemonOf(c.want.MPS, uuids)
	if err != nil {
		return &device.RefusedError{Reason: err}
	}
	return c.mps.Start(ctx, id, daemon)
}

// uuidOf returns what CUDA calls a device.
func (b *Backend) uuidOf(ctx context.Context, t target) (string, error) {
	switch {
	case t.offer.part == nil:
		return t.gpu.uuid, nil
	case t.offer.part.static != nil:
		return t.offer.part.static.UUID, nil
	}
	var uuid string
	what := "find the MIG instance of GPU " + t.gpu.uuid
	err := b.change(ctx, t.gpu, cutPatience, what, func(s *session, handle nvml.Device) error {
		gpu, err := b.cuttable(s, t.gpu, handle)
		if err != nil {
			return err
		}
		instances, err := mig.Instances(handle, gpu.Layout)
		if err != nil {
			return err
		}
		if made, ok := mig.Find(instances, t.offer.part.partition); ok {
			uuid = made.UUID
		}
		return nil
	})
	if err == nil && uuid == "" {
		err = errors.New("it is gone")
	}
	if err != nil {
		return "", fmt.Errorf("find the UUID of device %s: %w", t.offer.device.Name, err)
	}
	return uuid, nil
}

// unshare takes back what share did for a device; undo may be nil. With the first device of a claim all of its daemons
// end: its devices are always taken back together.
func (b *Backend) unshare(ctx context.Context, g device.Grant, undo json.RawMessage) error {
	if isAdmin(g.Result.AdminAccess) {
		return nil
	}
	if err := b.mps.StopFor(ctx, func(of types.UID) bool { return of == g.Claim.UID }); err != nil {
		return err
	}
	var remembered sharingUndo
	if err := json.Unmarshal(undo, &remembered); err != nil {
		remembered = sharingUndo{} // the keeper knows too
	}
	changed, err := b.keeper.Changed()
	if err != nil {
		return err
	}
	if remembered.Settings != nil && remembered.UUID != "" {
		if err := b.restore(ctx, remembered.UUID, g.Claim.UID, remembered.Settings); err != nil {
			return err
		}
		delete(changed, remembered.UUID)
	}
	for _, uuid := range sortedKeys(changed) {
		if changed[uuid].Claim == g.Claim.UID && gpuName(uuid) == g.Result.Device {
			if err := b.restore(ctx, uuid, g.Claim.UID, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore brings back the settings of a GPU, if there is one.
func (b *Backend) restore(ctx context.Context, uuid string, claim types.UID, undo *sharing.Changes) error {
	g, err := b.gpuNow(ctx, uuid)
	if err != nil {
		return err
	}
	if g == nil {
		return b.keeper.Forget(uuid)
	}
	what := "bring back how GPU " + uuid + " was shared"
	return b.change(ctx, g, settingPatience, what, func(_ *session, handle nvml.Device) error {
		return b.keeper.Restore(ctx, sharing.GPU{Handle: handle, UUID: uuid}, claim, undo)
	})
}

// sweepShares takes back what was shared for claims that nobody knows.
func (b *Backend) sweepShares(ctx context.Context, known func(claim types.UID) bool) error {
	problems := []error{b.mps.StopFor(ctx, func(of types.UID) bool { return !known(of) })}
	changed, err := b.keeper.Changed()
	problems = append(problems, err)
	for _, uuid := range sortedKeys(changed) {
		if claim := changed[uuid].Claim; !known(claim) {
			problems = append(problems, b.restore(ctx, uuid, claim, nil))
		}
	}
	return errors.Join(problems...)
}

// watchDaemons starts MPS daemons again that end while their claim is prepared, until ctx ends.
func (b *Backend) watchDaemons(ctx context.Context) {
	tick := time.NewTicker(reviveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, revivePatience)
		revived, err := b.mps.Revive(limited)
		cancel()
		for _, id := range revived {
			b.options.Warn("an MPS daemon had ended and was started again", "daemon", id)
		}
		if err != nil && ctx.Err() == nil {
			b.warnOnce("an MPS daemon has ended and cannot be started again", "err", err)
		}
	}
}

func sortedKeys[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
