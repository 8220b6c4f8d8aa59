//go:build cgo

package nvml

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml/xid"
)

// calm is how long after its last error a GPU must have been quiet to be healthy again. The action that a GPU asks for
// may change only after the error is reported.
const calm = 30 * time.Second

// allInstances is the instance of an event that hits a whole GPU (nvml.h, nvmlEventData_t).
const allInstances = 0xFFFFFFFF

// mostMarks is how many different errors of a GPU are remembered. Only the worst is shown.
const mostMarks = 32

// trouble is what speaks against a GPU.
type trouble struct {
	probe probe
	marks []mark
}

// probe is what a GPU answered to the question how it is.
type probe struct {
	// sick is why it does not work, a sentence; empty if it does.
	sick string
	// action is what it asks for; nil if the driver cannot say.
	action *nvml.DeviceGpuRecoveryAction
}

// mark is an error that the driver reported.
type mark struct {
	instance uint32 // GPU instance, or allInstances
	severity xid.Severity
	sentence string
	last     time.Time
}

// add remembers an error. One that was reported before counts again from now; a smaller one never hides a larger one.
func (t *trouble) add(m mark) {
	for i, old := range t.marks {
		if old.instance == m.instance && old.sentence == m.sentence {
			t.marks[i].last = m.last
			return
		}
	}
	t.marks = append(t.marks, m)
	slices.SortStableFunc(t.marks, func(a, b mark) int { return int(b.severity) - int(a.severity) })
	t.marks = t.marks[:min(len(t.marks), mostMarks)]
}

// probed takes an answer in. Errors are forgotten when the GPU works, says that it needs nothing, and was calm.
func (t *trouble) probed(p probe, now time.Time) {
	t.probe = p
	if p.sick == "" && p.action != nil && *p.action == nvml.GPU_RECOVERY_ACTION_NONE {
		t.marks = slices.DeleteFunc(t.marks, func(m mark) bool { return now.Sub(m.last) >= calm })
	}
}

// restarted forgets what the driver reported before it was started anew, which resets GPUs.
func (t *trouble) restarted() { *t = trouble{} }

// forget forgets the errors of an instance that is no more: its number will be another one's.
func (t *trouble) forget(instance uint32) {
	t.marks = slices.DeleteFunc(t.marks, func(m mark) bool { return m.instance == instance })
}

// health is that of a device which errors in some instances of the GPU hit.
func (t *trouble) health(hit func(instance uint32) bool) device.Health {
	if t.probe.sick != "" {
		return device.Health{Unhealthy: true, Reason: t.probe.sick}
	}
	var reasons []string
	for _, m := range t.marks { // the worst first
		if hit(m.instance) {
			reasons = append(reasons, m.sentence)
			break
		}
	}
	if asks := actionSentence(t.probe.action); asks != "" {
		reasons = append(reasons, asks)
	}
	if len(reasons) == 0 {
		return device.Health{}
	}
	return device.Health{Unhealthy: true, Reason: strings.Join(reasons, "; ")}
}

// actionSentence says what a GPU asks for; empty if nothing.
func actionSentence(action *nvml.DeviceGpuRecoveryAction) string {
	if action == nil {
		return ""
	}
	switch *action {
	case nvml.GPU_RECOVERY_ACTION_NONE:
		return ""
	case nvml.GPU_RECOVERY_ACTION_GPU_RESET:
		return "the GPU asks for a reset"
	case nvml.GPU_RECOVERY_ACTION_NODE_REBOOT, nvml.GPU_RECOVERY_ACTION_SYSTEM_REBOOT:
		return "the GPU asks for a reboot of the node"
	case nvml.GPU_RECOVERY_ACTION_DRAIN_P2P:
		return "the GPU asks that programs which use it together with others end"
	case nvml.GPU_RECOVERY_ACTION_DRAIN_AND_RESET:
		return "the GPU asks for a reset when its programs have ended"
	case nvml.GPU_RECOVERY_ACTION_RECOVER_IMEX_DOMAIN:
		return "the GPU asks that its IMEX domain be recovered"
	case nvml.GPU_RECOVERY_ACTION_BUS_RESET:
		return "the GPU asks for a reset of its bus"
	}
	return "the GPU asks for a recovery that this program does not know; see nvidia-smi -q"
}

// probe asks a GPU how it is. The amount of memory is what only a GPU that works can tell.
func (b *Backend) probe(s *session, g *gpu, handle nvml.Device) probe {
	var p probe
	if _, code := handle.GetMemoryInfo(); meansSick(called("nvmlDeviceGetMemoryInfo", code)) {
		p.sick = sickness(code)
		return p
	}
	if !s.has("nvmlDeviceGetFieldValues") {
		return p
	}
	values := []nvml.FieldValue{{FieldId: nvml.FI_DEV_GET_GPU_RECOVERY_ACTION}}
	err := called("nvmlDeviceGetFieldValues", handle.GetFieldValues(values))
	if err == nil {
		err = called("field GPU_RECOVERY_ACTION", nvml.Return(values[0].NvmlReturn))
	}
	switch {
	case err == nil:
		p.action = new(nvml.DeviceGpuRecoveryAction(binary.NativeEndian.Uint32(values[0].Value[:])))
	case errors.Is(err, nvml.ERROR_GPU_IS_LOST), errors.Is(err, nvml.ERROR_RESET_REQUIRED):
		p.sick = "the GPU does not work: " + err.Error()
	case errors.Is(err, nvml.ERROR_INVALID_ARGUMENT), errors.Is(err, nvml.ERROR_NOT_FOUND):
		// a driver older than the question (565)
	case !isUnsupported(err):
		b.warnOnce("a GPU does not tell what recovery it needs", "gpu", g.uuid, "err", err)
	}
	return p
}

// sickness says what a code means for who wants to use the GPU.
func sickness(code nvml.Return) string {
	return "the GPU does not work: " + meaning(code)
}
