//go:build cgo

package mig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/apimachinery/pkg/types"
)

// GPU is a GPU that is to be cut.
type GPU struct {
	nvml.Device
	// UUID is NVML's: "GPU-…".
	UUID string
	// Toggles is what [Toggles] says of it.
	Toggles bool
	// Layout is what [Read] said of it.
	Layout Layout
}

// Order asks for an instance.
type Order struct {
	Claim types.UID
	// Device is the name of the device that the claim got.
	Device    string
	Partition Partition
}

// Undo is what destroying an instance takes. GI and CI are missing as long as it was not made.
type Undo struct {
	ParentUUID string  `json:"parentUUID"`
	ProfileID  uint32  `json:"profileID"`
	Start      uint32  `json:"start"`
	Size       uint32  `json:"size"`
	GI         *uint32 `json:"gi,omitempty"`
	CI         *uint32 `json:"ci,omitempty"`
}

// Workshop makes and destroys instances. All methods may be called concurrently, by several processes too: those about
// one GPU wait for each other, those about different GPUs do not.
//
// NVML calls cannot be interrupted. Methods look at their context between calls only; whoever cannot wait runs them in
// a goroutine and gives up, and the GPU stays locked until NVML answers.
type Workshop struct {
	Book Book
	// Patience is how long a method tries again when NVML says that somebody uses the GPU; 0 means 3 s.
	Patience time.Duration
	// Report is told of what could not be set back but is in nobody's way. It may be nil.
	Report func(problem error)
}

// Create makes the instance that is ordered, or finds it made for the same claim, and returns it with its compute
// instance and UUID. It enables MIG mode if that takes no reset. remember is called before anything is changed, and
// again when GI and CI are known. After an error, Destroy takes back what was done.
func (w *Workshop) Create(ctx context.Context, gpu GPU, o Order, remember func(Undo) error) (Instance, error) {
	unlock, err := w.Book.Lock(ctx, gpu.UUID)
	if err != nil {
		return Instance{}, err
	}
	defer unlock()
	made, err := w.create(ctx, gpu, o, remember)
	if err != nil {
		return Instance{}, fmt.Errorf("make MIG instance %s at %d of GPU %s: %w",
			o.Partition.Name, o.Partition.Start, gpu.UUID, err)
	}
	return made, nil
}

func (w *Workshop) create(ctx context.Context, gpu GPU, o Order, remember func(Undo) error) (Instance, error) {
	p := o.Partition
	undo := Undo{ParentUUID: gpu.UUID, ProfileID: p.Info.Id, Start: p.Start, Size: p.Size}
	if err := remember(undo); err != nil {
		return Instance{}, err
	}
	if err := w.enable(ctx, gpu); err != nil {
		return Instance{}, fmt.Errorf("enable MIG mode: %w", err)
	}
	instances, err := Instances(gpu, gpu.Layout)
	if err != nil {
		return Instance{}, err
	}
	if err := w.checkPlace(instances, gpu.UUID, o); err != nil {
		return Instance{}, err
	}
	entry := Entry{Parent: gpu.UUID, ProfileID: p.Info.Id, Start: p.Start, Claim: o.Claim, Device: o.Device}
	if err := w.Book.put(entry); err != nil {
		return Instance{}, err
	}
	made, err := w.makeGPUInstance(gpu, p, instances)
	if err != nil {
		return Instance{}, err
	}
	if made.CI == nil {
		if made, err = makeComputeInstance(gpu, made); err != nil {
			return Instance{}, err
		}
	}
	undo.GI, undo.CI = &made.GI, made.CI
	return made, remember(undo)
}

// checkPlace refuses a place at which something is that was not made for this order, and names what it is.
func (w *Workshop) checkPlace(instances []Instance, parent string, o Order) error {
	for _, i := range instances {
		if !i.Overlaps(o.Partition.Placement) {
			continue
		}
		err := w.takenBy(parent, i)
		var taken *TakenError
		mine := errors.As(err, &taken) && taken.Claim == o.Claim && same(i.Partition, o.Partition)
		if !mine {
			return err
		}
	}
	return nil
}

// takenBy returns the error that an instance is in the way, with the claim that it was made for.
func (w *Workshop) takenBy(parent string, i Instance) error {
	entry, _, err := w.Book.find(parent, i.Info.Id, i.Start)
	if err != nil {
		return err
	}
	return &TakenError{Instance: i, Claim: entry.Claim}
}

func same(a, b Partition) bool { return a.Info.Id == b.Info.Id && a.Start == b.Start }

// Find returns the instance at a partition.
func Find(instances []Instance, p Partition) (Instance, bool) {
	i := slices.IndexFunc(instances, func(i Instance) bool { return same(i.Partition, p) })
	if i < 0 {
		return Instance{}, false
	}
	return instances[i], true
}

// makeGPUInstance believes the state of the GPU more than a return code: a call that failed may have made it.
func (w *Workshop) makeGPUInstance(gpu GPU, p Partition, before []Instance) (Instance, error) {
	if there, ok := Find(before, p); ok {
		return there, nil
	}
	placement := nvml.GpuInstancePlacement(p.Placement)
	_, ret := gpu.CreateGpuInstanceWithPlacement(&p.Info, &placement)
	after, err := Instances(gpu, gpu.Layout)
	if err != nil {
		return Instance{}, errors.Join(unlessSuccess("create GPU instance", ret), err)
	}
	if made, ok := Find(after, p); ok {
		return made, nil
	}
	if ret == nvml.SUCCESS {
		return Instance{}, errors.New("create GPU instance: NVML reports success, but there is none")
	}
	if ret == nvml.ERROR_INSUFFICIENT_RESOURCES {
		return Instance{}, fmt.Errorf("create GPU instance: %w; the GPU has %s", ret, show(after))
	}
	return Instance{}, fmt.Errorf("create GPU instance: %w", ret)
}

func unlessSuccess(what string, ret nvml.Return) error {
	if ret == nvml.SUCCESS {
		return nil
	}
	return fmt.Errorf("%s: %w", what, ret)
}

func makeComputeInstance(gpu GPU, in Instance) (Instance, error) {
	gi, err := handle(gpu, in)
	if err != nil {
		return Instance{}, err
	}
	info, ret := gi.GetComputeInstanceProfileInfo(in.Compute, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
	if ret != nvml.SUCCESS {
		return Instance{}, fmt.Errorf("read the compute instance profile of GPU instance %d: %w", in.GI, ret)
	}
	_, ret = gi.CreateComputeInstance(&info)
	made, err := read(gpu, gi, in.Profile)
	switch {
	case err != nil:
		return Instance{}, errors.Join(unlessSuccess("create compute instance", ret), err)
	case len(made) > 0 && made[0].CI != nil:
		return made[0], nil
	case ret == nvml.SUCCESS:
		return Instance{}, errors.New("create compute instance: NVML reports success, but there is none")
	}
	return Instance{}, fmt.Errorf("create compute instance: %w", ret)
}

// handle finds a GPU instance by its profile, which costs less than asking for all of them.
func handle(gpu nvml.Device, of Instance) (nvml.GpuInstance, error) {
	gis, ret := gpu.GetGpuInstances(&of.Info)
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("find GPU instance %d: %w", of.GI, ret)
	}
	for _, gi := range gis {
		if info, ret := gi.GetInfo(); ret == nvml.SUCCESS && info.Id == of.GI {
			return gi, nil
		}
	}
	return nil, fmt.Errorf("find GPU instance %d: %w", of.GI, nvml.ERROR_NOT_FOUND)
}
