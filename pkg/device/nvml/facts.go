//go:build cgo

package nvml

import (
	"errors"
	"strings"

	nvlib "github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/dynamic-resource-allocation/deviceattribute"
)

// facts are what does not change of a GPU while a session lasts. Each may be missing: what the GPU or the library does
// not tell costs that fact and nothing else.
type facts struct {
	uuid  string // never missing
	index int    // never missing

	minor           *int // of /dev/nvidia<minor>
	product         string
	brand           string
	architecture    nvml.DeviceArchitecture // 0 if missing
	architectureTxt string
	computeMajor    *int
	computeMinor    int
	addressingMode  string
	memory          *uint64 // bytes
	pciBusID        string  // "0000:3b:00.0"
	pcieRoot        string  // "pci0000:3a"
	numaNode        *int64
	driver          string // version
	cuda            int    // version, 13000 is 13.0
}

// fact is one thing to find out about a GPU. None says that there is nothing to know.
type fact struct {
	name   string
	symbol string // function of the library that not every version has; may be empty
	read   func(r reading) error
}

// reading is a GPU of which facts are read.
type reading struct {
	gpu     nvlib.Device
	options Options
	into    *facts
}

// allFacts are in the order in which they are read.
func allFacts() []fact {
	return []fact{
		{"minor number", "", readMinor},
		{"product name", "", readProduct},
		{"brand", "", readBrand},
		{"architecture", "", readArchitecture},
		{"CUDA compute capability", "", readComputeCapability},
		{"addressing mode", "nvmlDeviceGetAddressingMode", readAddressingMode},
		{"memory", "", readMemory},
		{"PCI address", "", readPCI},
	}
}

// learn reads those facts that are not known yet. It reports each that could not be read; whoever asks again, tries
// again.
func (b *Backend) learn(s *session, g *gpu, handle nvml.Device, index int) (facts, map[string]bool) {
	known, done := g.known(s)
	known.uuid, known.index, known.driver, known.cuda = g.uuid, index, s.driver, s.cuda
	gpu, err := nvlib.New(s.lib).NewDevice(handle)
	if err != nil {
		b.warnOnce("a GPU tells nothing", "gpu", g.uuid, "err", err)
		return known, done
	}
	for _, f := range allFacts() {
		if done[f.name] || f.symbol != "" && !s.has(f.symbol) {
			continue
		}
		err := f.read(reading{gpu, b.options, &known})
		if err != nil && !isUnsupported(err) {
			b.warnOnce("a GPU does not tell everything about itself", "gpu", g.uuid, "what", f.name, "err", err)
		}
		done[f.name] = err == nil || isUnsupported(err) || errors.Is(err, errNewer)
	}
	return known, done
}

// errNewer says that the library answered with a constant that this program does not know.
var errNewer = errors.New("a value newer than this program")

func readMinor(r reading) error {
	minor, code := r.gpu.GetMinorNumber()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetMinorNumber", code)
	}
	r.into.minor = &minor
	return nil
}

func readProduct(r reading) error {
	name, code := r.gpu.GetName()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetName", code)
	}
	r.into.product = name
	return nil
}

func readBrand(r reading) error {
	if _, code := r.gpu.GetBrand(); code != nvml.SUCCESS {
		return called("nvmlDeviceGetBrand", code)
	}
	brand, err := r.gpu.GetBrandAsString()
	if err != nil {
		return errNewer
	}
	r.into.brand = brand
	return nil
}

func readArchitecture(r reading) error {
	architecture, code := r.gpu.GetArchitecture()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetArchitecture", code)
	}
	r.into.architecture = architecture
	text, err := r.gpu.GetArchitectureAsString()
	if err != nil {
		return errNewer
	}
	r.into.architectureTxt = text
	return nil
}

func readComputeCapability(r reading) error {
	major, minor, code := r.gpu.GetCudaComputeCapability()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetCudaComputeCapability", code)
	}
	r.into.computeMajor, r.into.computeMinor = &major, minor
	return nil
}

func readAddressingMode(r reading) error {
	mode, code := r.gpu.GetAddressingMode()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetAddressingMode", code)
	}
	switch nvml.DeviceAddressingModeType(mode.Value) {
	case nvml.DEVICE_ADDRESSING_MODE_ATS:
		r.into.addressingMode = "ATS"
	case nvml.DEVICE_ADDRESSING_MODE_HMM:
		r.into.addressingMode = "HMM"
	case nvml.DEVICE_ADDRESSING_MODE_NONE:
		r.into.addressingMode = "None"
	}
	return nil
}

func readMemory(r reading) error {
	memory, code := r.gpu.GetMemoryInfo()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetMemoryInfo", code)
	}
	r.into.memory = &memory.Total
	return nil
}

// readPCI reads the address and what the machine says about it. That a machine does not know the place of a GPU is no
// problem: many virtual ones do not.
func readPCI(r reading) error {
	info, code := r.gpu.GetPciInfo()
	if code != nvml.SUCCESS {
		return called("nvmlDeviceGetPciInfo", code)
	}
	address := pciAddress(info)
	if address == "" {
		return nil
	}
	r.into.pciBusID = address
	sys := deviceattribute.WithFSFromRoot(r.options.sys())
	if root, err := deviceattribute.GetPCIeRootAttributeByPCIBusID(address, sys); err == nil {
		r.into.pcieRoot = *root.Value.StringValue
	}
	node, err := deviceattribute.GetNUMANodeAttributeByPCIBusID(address, deviceattribute.ScalarAttribute, sys)
	if err == nil {
		r.into.numaNode = node.Value.IntValue
	}
	return nil
}

// pciAddress returns the address as the kernel writes it: NVML gives the domain eight digits, the kernel at least four.
func pciAddress(info nvml.PciInfo) string {
	var text strings.Builder
	for _, c := range info.BusId {
		if c == 0 {
			break
		}
		text.WriteByte(byte(c))
	}
	address := strings.ToLower(text.String())
	if domain, _, ok := strings.Cut(address, ":"); ok && len(domain) == 8 && strings.HasPrefix(domain, "0000") {
		address = address[4:]
	}
	return address
}
