//go:build cgo

package sharing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/apimachinery/pkg/types"
)

// Keeper changes settings of whole GPUs and brings back what was before. It keeps a file for each GPU that it changed,
// in a directory that must not outlive the boot, since the settings do not either. Whoever calls it about a GPU is the
// only one who does.
type Keeper struct {
	// Dir is where the files are. It is made when it is needed.
	Dir string
	// SMI finds nvidia-smi when it is needed.
	SMI func() (SMI, error)
}

// GPU is a GPU with settings.
type GPU struct {
	Handle nvml.Device
	UUID   string
}

// Changes are the settings of a GPU that were changed for a claim.
type Changes struct {
	Claim       types.UID `json:"claim"`
	ComputeMode *Change   `json:"computeMode,omitempty"`
	TimeSlice   *Change   `json:"timeSlice,omitempty"`
}

// Change is a setting before and after it was changed, in the numbers of NVML and of nvidia-smi.
type Change struct {
	Before int `json:"before"`
	Set    int `json:"set"`
}

// knob is one setting of one GPU.
type knob struct {
	name string
	get  func(context.Context) (int, error)
	set  func(context.Context, int) error
	want *int
	// change is where in Changes it is written down.
	change func(*Changes) **Change
}

func (k *Keeper) knobs(gpu GPU, want Want) []knob {
	mode := knob{
		name:   "compute mode",
		change: func(c *Changes) **Change { return &c.ComputeMode },
		get: func(context.Context) (int, error) {
			mode, ret := gpu.Handle.GetComputeMode()
			return int(mode), unlessSuccess(ret)
		},
		set: func(_ context.Context, mode int) error {
			return unlessSuccess(gpu.Handle.SetComputeMode(nvml.ComputeMode(mode)))
		},
	}
	slice := knob{
		name:   "time slice",
		change: func(c *Changes) **Change { return &c.TimeSlice },
		get: func(ctx context.Context) (int, error) {
			smi, err := k.SMI()
			if err != nil {
				return 0, err
			}
			slice, err := smi.TimeSlice(ctx, gpu.UUID)
			return int(slice), err
		},
		set: func(ctx context.Context, slice int) error {
			smi, err := k.SMI()
			if err != nil {
				return err
			}
			return smi.SetTimeSlice(ctx, gpu.UUID, TimeSlice(slice))
		},
	}
	if want.ComputeMode != nil {
		mode.want = new(int(*want.ComputeMode))
	}
	if want.TimeSlice != nil {
		slice.want = new(int(*want.TimeSlice))
	}
	return []knob{mode, slice}
}

func unlessSuccess(ret nvml.Return) error {
	if ret == nvml.SUCCESS {
		return nil
	}
	return fmt.Errorf("NVML: %w", ret)
}

// Apply gives a GPU the settings that a claim wants. It calls remember with all that will have been changed for the
// claim before it changes more, and not at all if nothing is to be changed. The same claim may ask again: it gets the
// same.
func (k *Keeper) Apply(ctx context.Context, gpu GPU, claim types.UID, want Want, remember func(Changes) error) error {
	changes, err := k.read(gpu.UUID)
	if err != nil {
		return err
	}
	if changes != nil && changes.Claim != claim { // a leftover: its claim is gone, or the GPU would not be free
		if err := k.restore(ctx, gpu, *changes); err != nil {
			return err
		}
		changes = nil
	}
	if changes == nil {
		changes = &Changes{Claim: claim}
	}
	var turn []knob
	for _, knob := range k.knobs(gpu, want) {
		if knob.want == nil {
			continue
		}
		current, err := knob.get(ctx)
		if err != nil {
			return fmt.Errorf("read the %s of GPU %s: %w", knob.name, gpu.UUID, err)
		}
		known := knob.change(changes)
		if current == *knob.want {
			continue
		}
		if *known == nil {
			*known = &Change{Before: current}
		}
		(*known).Set = *knob.want
		turn = append(turn, knob)
	}
	if changes.ComputeMode == nil && changes.TimeSlice == nil {
		return nil
	}
	if err := remember(*changes); err != nil {
		return err
	}
	if err := k.write(gpu.UUID, *changes); err != nil {
		return err
	}
	for _, knob := range turn {
		if err := knob.set(ctx, *knob.want); err != nil {
			return fmt.Errorf("set the %s of GPU %s to %d: %w", knob.name, gpu.UUID, *knob.want, err)
		}
	}
	return nil
}

// Restore brings back what was before Apply for a claim. undo is what was remembered; it may be nil, since the file
// knows too, and it is the other way if the file was lost.
func (k *Keeper) Restore(ctx context.Context, gpu GPU, claim types.UID, undo *Changes) error {
	changes, err := k.read(gpu.UUID)
	switch {
	case err != nil:
		return err
	case changes == nil:
		changes = undo
	case changes.Claim != claim:
		return nil
	}
	if changes == nil {
		return nil
	}
	return k.restore(ctx, gpu, *changes)
}

// restore leaves a setting alone that is not what it was set to: somebody else has changed it since.
func (k *Keeper) restore(ctx context.Context, gpu GPU, changes Changes) error {
	var problems []error
	for _, knob := range k.knobs(gpu, Want{}) {
		change := *knob.change(&changes)
		if change == nil {
			continue
		}
		current, err := knob.get(ctx)
		if err == nil && current == change.Set {
			err = knob.set(ctx, change.Before)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("bring the %s of GPU %s back to %d: %w",
				knob.name, gpu.UUID, change.Before, err))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return k.Forget(gpu.UUID)
}

// Changed returns the GPUs with changed settings, by UUID.
func (k *Keeper) Changed() (map[string]Changes, error) {
	files, err := os.ReadDir(k.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which GPUs have changed settings: %w", err)
	}
	all := map[string]Changes{}
	for _, file := range files {
		uuid, ok := strings.CutSuffix(file.Name(), ".json")
		if !ok || !uuidPattern.MatchString(uuid) {
			continue
		}
		changes, err := k.read(uuid)
		if err != nil {
			return nil, err
		}
		if changes != nil {
			all[uuid] = *changes
		}
	}
	return all, nil
}

// Forget strikes out what was changed of a GPU that is gone.
func (k *Keeper) Forget(uuid string) error {
	if err := os.Remove(k.file(uuid)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the settings of GPU %s: %w", uuid, err)
	}
	return nil
}

var uuidPattern = regexp.MustCompile(`^GPU-[0-9a-zA-Z-]{1,64}$`)

func (k *Keeper) file(uuid string) string { return filepath.Join(k.Dir, uuid+".json") }

// read returns nil if nothing was changed.
func (k *Keeper) read(uuid string) (*Changes, error) {
	if !uuidPattern.MatchString(uuid) {
		return nil, fmt.Errorf("settings of GPU %q: not the UUID of a GPU", uuid)
	}
	raw, err := os.ReadFile(k.file(uuid))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var changes Changes
	if err == nil {
		err = json.Unmarshal(raw, &changes)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the settings of GPU %s were: %w", uuid, err)
	}
	return &changes, nil
}

func (k *Keeper) write(uuid string, changes Changes) error {
	raw, err := json.Marshal(changes)
	if err == nil {
		err = os.MkdirAll(k.Dir, 0o750)
	}
	if err == nil {
		err = replace(k.file(uuid), raw)
	}
	if err != nil {
		return fmt.Errorf("write down what the settings of GPU %s were: %w", uuid, err)
	}
	return nil
}

// replace writes a file so that nobody ever sees a part of it.
func replace(path string, content []byte) error {
	const temporary = ".tmp"
	err := os.WriteFile(path+temporary, content, 0o640)
	if err == nil {
		err = os.Rename(path+temporary, path)
	}
	if err != nil {
		_ = os.Remove(path + temporary)
	}
	return err
}
