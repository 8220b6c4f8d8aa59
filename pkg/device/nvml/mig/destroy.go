//go:build cgo

package mig

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/apimachinery/pkg/types"
)

// Destroy takes back what Create did for a device of a claim. Nothing to take back is no error. undo is what Create
// remembered last; it may be nil, since the book knows too, and it is the other way if the book was lost.
func (w *Workshop) Destroy(ctx context.Context, gpu GPU, claim types.UID, device string, undo *Undo) error {
	unlock, err := w.Book.Lock(ctx, gpu.UUID)
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := w.Book.Entries(gpu.UUID)
	if err != nil {
		return err
	}
	var problems []error
	for _, e := range entries {
		if e.Claim == claim && e.Device == device {
			problems = append(problems, w.destroyEntry(ctx, gpu, e))
		}
	}
	if undo != nil && undo.ParentUUID == gpu.UUID && undo.GI != nil && !slices.ContainsFunc(entries, undo.isIn) {
		problems = append(problems, w.destroyAt(ctx, gpu, undo.ProfileID, undo.Start, undo.GI))
	}
	w.settle(ctx, gpu)
	return errors.Join(problems...)
}

// isIn tells whether an entry is about the place of u; then the entry says whose instance it is.
func (u *Undo) isIn(e Entry) bool { return e.ProfileID == u.ProfileID && e.Start == u.Start }

// Sweep destroys what is in the book about a GPU for claims that nobody knows.
func (w *Workshop) Sweep(ctx context.Context, gpu GPU, known func(types.UID) bool) error {
	unlock, err := w.Book.Lock(ctx, gpu.UUID)
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := w.Book.Entries(gpu.UUID)
	if err != nil {
		return err
	}
	var problems []error
	for _, e := range entries {
		if !known(e.Claim) {
			problems = append(problems, w.destroyEntry(ctx, gpu, e))
		}
	}
	w.settle(ctx, gpu)
	by, err := w.Book.disabledFor(gpu.UUID)
	if err == nil && by != "" && !known(by) {
		if err = w.setMode(ctx, gpu, nvml.DEVICE_MIG_ENABLE); err == nil {
			err = w.Book.removeFile(gpu.UUID, disabledFile)
		}
	}
	return errors.Join(append(problems, err)...)
}

func (w *Workshop) destroyEntry(ctx context.Context, gpu GPU, e Entry) error {
	if err := w.destroyAt(ctx, gpu, e.ProfileID, e.Start, nil); err != nil {
		return err
	}
	return w.Book.remove(e)
}

// destroyAt destroys the GPU instance at a place with all of its compute instances, if it is there and has the ID.
func (w *Workshop) destroyAt(ctx context.Context, gpu GPU, profile, start uint32, gi *uint32) error {
	mode, err := ReadMode(gpu)
	if err != nil || !mode.Current {
		return err
	}
	instances, err := Instances(gpu, gpu.Layout)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(instances, func(i Instance) bool {
		return i.Info.Id == profile && i.Start == start && (gi == nil || *gi == i.GI)
	})
	if i < 0 {
		return nil
	}
	if err := w.destroy(ctx, gpu, instances[i]); err != nil {
		return fmt.Errorf("destroy MIG instance %s at %d of GPU %s: %w",
			instances[i].Profile.show(), instances[i].Start, gpu.UUID, err)
	}
	return nil
}

// destroy takes an error for success if the GPU instance is gone.
func (w *Workshop) destroy(ctx context.Context, gpu GPU, i Instance) error {
	gi, err := handle(gpu, i)
	if errors.Is(err, nvml.ERROR_NOT_FOUND) {
		return nil
	}
	if err == nil {
		err = w.destroyComputeInstances(ctx, gi, i)
	}
	if err == nil {
		err = w.retry(ctx, fmt.Sprintf("GPU instance %d", i.GI), func() nvml.Return { return gi.Destroy() })
	}
	there, look := Instances(gpu, gpu.Layout)
	if look != nil {
		return errors.Join(err, look)
	}
	if _, ok := Find(there, i.Partition); !ok {
		return nil
	}
	if err == nil {
		err = errors.New("NVML reports success, but it is still there")
	}
	return err
}

func (w *Workshop) destroyComputeInstances(ctx context.Context, gi nvml.GpuInstance, of Instance) error {
	for index := range nvml.COMPUTE_INSTANCE_PROFILE_COUNT {
		info, ret := gi.GetComputeInstanceProfileInfo(index, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
		if ret != nvml.SUCCESS || info.InstanceCount == 0 {
			continue // destroying the GPU instance says what is wrong if there is one in it
		}
		cis, ret := gi.GetComputeInstances(&info)
		if ret != nvml.SUCCESS {
			continue
		}
		for _, ci := range cis {
			what := fmt.Sprintf("the compute instance of GPU instance %d", of.GI)
			err := w.retry(ctx, what, func() nvml.Return {
				ret := ci.Destroy()
				if ret == nvml.ERROR_NOT_FOUND {
					return nvml.SUCCESS
				}
				return ret
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Forget strikes out what is in the book about a GPU that is gone, and its instances with it, for all claims for which
// which answers true.
func (b Book) Forget(parent string, which func(types.UID) bool) error {
	entries, err := b.Entries(parent)
	if err != nil {
		return err
	}
	var problems []error
	for _, e := range entries {
		if which(e.Claim) {
			problems = append(problems, b.remove(e))
		}
	}
	by, err := b.disabledFor(parent)
	if err == nil && by != "" && which(by) {
		err = b.removeFile(parent, disabledFile)
	}
	return errors.Join(append(problems, err)...)
}
