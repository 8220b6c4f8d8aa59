//go:build cgo

package mig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/apimachinery/pkg/types"
)

// enable enables MIG mode where that takes no reset, and writes down that it did.
func (w *Workshop) enable(ctx context.Context, gpu GPU) error {
	mode, err := ReadMode(gpu)
	switch {
	case err != nil:
		return err
	case !mode.Capable:
		return errors.New("the GPU has no MIG")
	case mode.Current && mode.Pending:
		return nil
	case mode.Current:
		return errors.New(Decide(true, State{Mode: mode}).Unhealthy)
	case !gpu.Toggles:
		return errors.New("it is disabled, and this GPU changes it with a reset only; enable it (nvidia-smi -mig 1) " +
			"and reboot the node")
	}
	if err := w.Book.write(gpu.UUID, enabledFile, nil); err != nil {
		return err
	}
	if err := w.setMode(ctx, gpu, nvml.DEVICE_MIG_ENABLE); err != nil {
		return errors.Join(err, w.Book.removeFile(gpu.UUID, enabledFile))
	}
	return nil
}

// Disable takes a GPU that is to be used as a whole out of MIG mode and writes down for whom. It refuses while there
// are instances. Where somebody else had enabled it, remember is called before. Without need it changes nothing; it
// makes one call to NVML then.
func (w *Workshop) Disable(ctx context.Context, gpu GPU, claim types.UID, remember func(Undo) error) error {
	mode, err := ReadMode(gpu)
	if err != nil {
		return err
	}
	by, err := w.Book.disabledFor(gpu.UUID)
	if err != nil || !mode.Current && !mode.Pending && by != claim {
		return err
	}
	unlock, err := w.Book.Lock(ctx, gpu.UUID)
	if err != nil {
		return err
	}
	defer unlock()
	if err := w.disableFor(ctx, gpu, claim, mode, remember); err != nil {
		return fmt.Errorf("take GPU %s out of MIG mode: %w", gpu.UUID, err)
	}
	return nil
}

func (w *Workshop) disableFor(
	ctx context.Context, gpu GPU, claim types.UID, mode Mode, remember func(Undo) error,
) error {
	if mode.Current || mode.Pending {
		instances, err := Instances(gpu, gpu.Layout)
		switch {
		case err != nil:
			return err
		case len(instances) > 0:
			return w.takenBy(gpu.UUID, instances[0])
		case !gpu.Toggles:
			return errors.New("this GPU changes MIG mode with a reset only; disable it (nvidia-smi -mig 0) and reboot the node")
		}
	}
	ours, err := w.Book.enabled(gpu.UUID)
	if err != nil {
		return err
	}
	if !ours { // whoever enabled it gets it back
		if err := remember(Undo{ParentUUID: gpu.UUID}); err != nil {
			return err
		}
		if err := w.Book.write(gpu.UUID, disabledFile, []byte(claim)); err != nil {
			return err
		}
	}
	if mode.Current || mode.Pending {
		if err := w.setMode(ctx, gpu, nvml.DEVICE_MIG_DISABLE); err != nil {
			return err
		}
	}
	return w.Book.removeFile(gpu.UUID, enabledFile)
}

// Enable takes back what [Workshop.Disable] did for a claim, if it did anything.
func (w *Workshop) Enable(ctx context.Context, gpu GPU, claim types.UID) error {
	if by, err := w.Book.disabledFor(gpu.UUID); err != nil || by != claim {
		return err
	}
	unlock, err := w.Book.Lock(ctx, gpu.UUID)
	if err != nil {
		return err
	}
	defer unlock()
	if err := w.setMode(ctx, gpu, nvml.DEVICE_MIG_ENABLE); err != nil {
		return fmt.Errorf("enable MIG mode of GPU %s again: %w", gpu.UUID, err)
	}
	return w.Book.removeFile(gpu.UUID, disabledFile)
}

// settle disables MIG mode again if this driver enabled it and nobody needs it any more. That it cannot is in nobody's
// way: who gets the whole GPU next disables it.
func (w *Workshop) settle(ctx context.Context, gpu GPU) {
	ours, err := w.Book.enabled(gpu.UUID)
	if err == nil && !ours {
		return
	}
	var instances []Instance
	if err == nil {
		instances, err = Instances(gpu, gpu.Layout)
	}
	if err == nil && len(instances) > 0 {
		return
	}
	if err == nil {
		err = w.setMode(ctx, gpu, nvml.DEVICE_MIG_DISABLE)
	}
	if err == nil {
		err = w.Book.removeFile(gpu.UUID, enabledFile)
	}
	if err != nil && w.Report != nil {
		w.Report(fmt.Errorf("disable MIG mode of GPU %s again: %w", gpu.UUID, err))
	}
}

// setMode succeeds when the mode is what it is to be, whatever NVML returned. Otherwise it takes back what it left
// pending.
func (w *Workshop) setMode(ctx context.Context, gpu GPU, to int) error {
	err := w.retry(ctx, "the GPU", func() nvml.Return {
		activation, ret := gpu.SetMigMode(to)
		if current, pending, read := gpu.GetMigMode(); read == nvml.SUCCESS && current == to && pending == to {
			return nvml.SUCCESS
		}
		switch {
		case ret != nvml.SUCCESS:
			return ret
		case activation != nvml.SUCCESS:
			return activation
		default:
			return nvml.ERROR_RESET_REQUIRED
		}
	})
	if err == nil {
		return nil
	}
	if current, pending, ret := gpu.GetMigMode(); ret == nvml.SUCCESS && current != pending {
		_, ret = gpu.SetMigMode(current)
		return errors.Join(err, unlessSuccess("set the pending MIG mode back", ret))
	}
	return err
}

// retry tries again for a while as long as NVML says that somebody uses what is to be changed.
func (w *Workshop) retry(ctx context.Context, what string, do func() nvml.Return) error {
	const first, most, usual = 20 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second
	patience := w.Patience
	if patience == 0 {
		patience = usual
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := first; ; pause = min(2*pause, most) {
		ret := do()
		switch {
		case ret == nvml.SUCCESS:
			return nil
		case ret != nvml.ERROR_IN_USE:
			return fmt.Errorf("change %s: %w", what, ret)
		case wait(patient, pause) != nil: // worded now, since the library may be closed when somebody reads it
			return &InUseError{What: what, Cause: fmt.Errorf("%w", ret)}
		}
	}
}
