//go:build cgo

package nvml

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// recording answers nvcdi's questions to NVML from what is known of one GPU, so that generating edits neither calls the
// library nor initialises and shuts it down, as nvcdi does around each question. What it does not know is asked of the
// library itself.
type recording struct {
	nvml.Interface
	facts facts
	gpu   nvml.Device
}

func newRecording(s *session, handle nvml.Device, f facts) *recording {
	return &recording{Interface: s.lib, facts: f, gpu: &recordedGPU{Device: handle, facts: f}}
}

func (r *recording) Init() nvml.Return     { return nvml.SUCCESS }
func (r *recording) Shutdown() nvml.Return { return nvml.SUCCESS }

// SystemGetDriverVersion fails where the version is not known; nvcdi then takes it from the names of the libraries.
func (r *recording) SystemGetDriverVersion() (string, nvml.Return) {
	if r.facts.driver == "" {
		return "", nvml.ERROR_UNKNOWN
	}
	return r.facts.driver, nvml.SUCCESS
}

func (r *recording) DeviceGetHandleByUUID(uuid string) (nvml.Device, nvml.Return) {
	if uuid != r.facts.uuid {
		return nil, nvml.ERROR_NOT_FOUND
	}
	return r.gpu, nvml.SUCCESS
}

type recordedGPU struct {
	nvml.Device
	facts facts
}

func (g *recordedGPU) GetUUID() (string, nvml.Return) { return g.facts.uuid, nvml.SUCCESS }
func (g *recordedGPU) GetIndex() (int, nvml.Return)   { return g.facts.index, nvml.SUCCESS }

func (g *recordedGPU) IsMigDeviceHandle() (bool, nvml.Return) { return false, nvml.SUCCESS }

func (g *recordedGPU) GetMinorNumber() (int, nvml.Return) {
	if g.facts.minor == nil {
		return 0, nvml.ERROR_UNKNOWN
	}
	return *g.facts.minor, nvml.SUCCESS
}

// GetPciInfo gives nvcdi the address by which it finds the DRM nodes of the GPU. Without one it finds none.
func (g *recordedGPU) GetPciInfo() (nvml.PciInfo, nvml.Return) {
	var info nvml.PciInfo
	for i, c := range []byte(fmt.Sprintf("%.*s", len(info.BusId)-1, g.facts.pciBusID)) {
		info.BusId[i] = int8(c)
	}
	return info, nvml.SUCCESS
}
