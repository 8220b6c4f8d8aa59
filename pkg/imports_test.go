// Package pkg_test holds what must be true of all rooms at once.
package pkg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/dragoman/"

// mayImport is the plan of the house: which rooms a room may import. A room that is not listed may not exist.
// A level imports only from levels below it, and nothing on the publish river knows claims, nothing on the prepare
// river knows slices.
var mayImport = map[string][]string{
	"api/gpu/v1alpha1":      {"api/internal/strict"},
	"api/config/v1alpha1":   {"api/internal/strict"},
	"api/internal/strict":   {},
	"pkg/failpoint":         {},
	"pkg/dir":               {"pkg/failpoint"},
	"pkg/checkpoint":        {"pkg/dir"},
	"pkg/cdi":               {"pkg/dir"},
	"pkg/telemetry":         {},
	"pkg/equal":             {},
	"pkg/publish":           {"pkg/equal"},
	"pkg/claim":             {"api/gpu/v1alpha1"},
	"pkg/device":            {"api/gpu/v1alpha1"},
	"pkg/device/devicetest": {"pkg/device"},
	"pkg/device/mock":       {"pkg/device", "pkg/dir", "api/gpu/v1alpha1", "api/config/v1alpha1"},
	"pkg/device/nvml": {
		"pkg/device", "api/gpu/v1alpha1", "pkg/device/nvml/driverroot", "pkg/device/nvml/mig", "pkg/device/nvml/sharing",
		"pkg/device/nvml/xid",
	},
	"pkg/device/nvml/driverroot": {},
	"pkg/device/nvml/mig":        {},
	"pkg/device/nvml/nvmltest":   {},
	"pkg/device/nvml/sharing":    {"api/gpu/v1alpha1", "pkg/device/nvml/driverroot"},
	"pkg/device/nvml/xid":        {},
	"pkg/inventory":              {"pkg/device", "pkg/equal"},
	"pkg/prepare":                {"pkg/device", "pkg/claim", "pkg/cdi", "pkg/checkpoint", "pkg/failpoint"},
	"pkg/doctor":                 {"pkg/device"},
	"pkg/status":                 {"pkg/device"},
	"pkg/metadata":               {"pkg/dir"},
	"pkg/admission":              {"pkg/claim"},
	"pkg/binding":                {"pkg/device"},
	"pkg/driver": {
		"pkg/inventory", "pkg/publish", "pkg/claim", "pkg/prepare", "pkg/status", "pkg/metadata", "pkg/device",
	},
	"pkg/nearest":       {},
	"pkg/view":          {},
	"pkg/view/collect":  {"pkg/view"},
	"pkg/view/manifest": {"pkg/nearest"},
	"pkg/view/selector": {},
	"pkg/view/allocate": {"pkg/view", "pkg/view/selector"},
	"pkg/view/why":      {"pkg/nearest", "pkg/view", "pkg/view/allocate", "pkg/view/selector"},
	"pkg/view/mask":     {},
	"pkg/view/gather":   {"pkg/view", "pkg/view/collect", "pkg/view/mask"},
	"pkg/view/validate": {
		"pkg/view", "pkg/view/manifest", "pkg/view/selector", "pkg/claim", "api/gpu/v1alpha1", "api/config/v1alpha1",
	},
	"pkg/sanity/apiserver": {"pkg/sanity/gobuild"},
	"pkg/sanity/gobuild":   {},
	"pkg/sanity/proxy":     {},
	"pkg/sanity/history":   {},
	"pkg/sanity/figures":   {},
	"pkg/sanity/footprint": {"pkg/sanity/figures"},
	"pkg/sanity/load": {
		"pkg/sanity/kubelet", "pkg/sanity/subject", "pkg/sanity/cluster", "pkg/sanity/node", "pkg/sanity/proxy",
		"pkg/sanity/figures", "pkg/sanity/footprint",
	},
	"pkg/sanity/kubelet": {},
	"pkg/sanity/suite":   {},
	"pkg/sanity/subject": {},
	"pkg/sanity/cluster": {"pkg/sanity/kubelet"},
	"pkg/sanity/node": {
		"pkg/sanity/kubelet", "pkg/sanity/suite", "pkg/sanity/subject", "pkg/sanity/cluster",
	},
	"pkg/sanity/conformance": {
		"pkg/sanity/kubelet", "pkg/sanity/suite", "pkg/sanity/subject", "pkg/sanity/cluster", "pkg/sanity/node",
	},
	"pkg/sanity/fault": {
		"pkg/sanity/kubelet", "pkg/sanity/suite", "pkg/sanity/subject", "pkg/sanity/cluster", "pkg/sanity/node",
		"pkg/sanity/proxy", "pkg/sanity/history", "pkg/sanity/footprint",
	},
	"cmd/dra-sanity": { // knows nothing of the driver's rooms
		"pkg/sanity/apiserver", "pkg/sanity/cluster", "pkg/sanity/conformance", "pkg/sanity/fault", "pkg/sanity/kubelet",
		"pkg/sanity/figures", "pkg/sanity/load", "pkg/sanity/node", "pkg/sanity/proxy", "pkg/sanity/subject",
		"pkg/sanity/suite",
	},
	"cmd/kubectl-dra": { // any driver's devices; of ours only what makes up machines for simulate
		"pkg/view", "pkg/view/allocate", "pkg/view/collect", "pkg/view/gather", "pkg/view/manifest", "pkg/view/selector",
		"pkg/view/validate", "pkg/view/why", "pkg/device", "pkg/device/mock", "pkg/inventory", "api/config/v1alpha1",
	},
	"cmd/gpucheck": { // the prepare river on one machine
		"pkg/device/nvml", "pkg/device", "pkg/prepare", "pkg/claim", "pkg/cdi", "pkg/checkpoint", "api/gpu/v1alpha1",
	},
	"cmd/dragoman": {
		"api/config/v1alpha1", "api/gpu/v1alpha1", "pkg/cdi", "pkg/checkpoint", "pkg/claim", "pkg/device",
		"pkg/admission", "pkg/binding", "pkg/device/mock", "pkg/device/nvml", "pkg/doctor", "pkg/driver", "pkg/inventory",
		"pkg/nearest", "pkg/prepare", "pkg/publish", "pkg/status", "pkg/telemetry",
	},
}

// doors are the outside libraries that exactly one room opens, with what is below it.
var doors = map[string]string{
	"k8s.io/dynamic-resource-allocation/kubeletplugin": "pkg/driver",
	"k8s.io/dynamic-resource-allocation/resourceslice": "pkg/publish",
	"tags.cncf.io/container-device-interface/pkg/":     "pkg/cdi",
	"github.com/prometheus/":                           "pkg/telemetry",
	"github.com/fsnotify/":                             "pkg/device/mock",
	"k8s.io/cri-api/":                                  "pkg/doctor",
	"go.yaml.in/yaml/":                                 "api/internal/strict",
	"github.com/NVIDIA/":                               "pkg/device/nvml",
	"golang.org/x/mod/":                                "pkg/sanity/gobuild",
	"k8s.io/dynamic-resource-allocation/structured":    "pkg/view/allocate",
	"k8s.io/dynamic-resource-allocation/cel":           "pkg/view/selector",
	"github.com/google/cel-go/":                        "pkg/view/selector",
	"k8s.io/apiserver/":                                "pkg/view/selector",
	"github.com/spf13/":                                "cmd/kubectl-dra",
	"k8s.io/cli-runtime/":                              "cmd/kubectl-dra",
}

// standsIn are the programs that do for a check what somebody else does with the libraries.
var standsIn = map[string][]string{
	// The container runtime, and a backend whose calls are measured one by one.
	"cmd/gpucheck": {"tags.cncf.io/container-device-interface/pkg/", "github.com/NVIDIA/"},
	// The container runtime.
	"pkg/sanity/node": {"tags.cncf.io/container-device-interface/pkg/"},
	// kubectl, which reads several documents of a file, and says on which line of it something is wrong.
	"pkg/view/manifest": {"go.yaml.in/yaml/"},
	// The kubelet, which watches its directory of sockets.
	"pkg/sanity/kubelet": {"github.com/fsnotify/"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func rooms(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("list the packages of the module: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("read the list of packages: %v", err)
		}
		all = append(all, l)
	}
}

func TestARoomImportsOnlyRoomsBelowIt(t *testing.T) {
	for _, room := range rooms(t) {
		name := strings.TrimPrefix(room.ImportPath, module)
		allowed, known := mayImport[name]
		if !known {
			if name != "pkg" {
				t.Errorf("%s is not in the plan of the house: give it a line in mayImport and a reason to exist", name)
			}
			continue
		}
		for _, imported := range room.Imports {
			other, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s, which is not below it; allowed: %s", name, other, strings.Join(allowed, ", "))
			}
		}
	}
}

func TestEachOutsideLibraryHasOneDoor(t *testing.T) {
	for _, room := range rooms(t) {
		name := strings.TrimPrefix(room.ImportPath, module)
		for _, imported := range room.Imports {
			for library, door := range doors {
				if strings.HasPrefix(imported, library) && !strings.HasPrefix(name+"/", door+"/") &&
					!slices.Contains(standsIn[name], library) {
					t.Errorf("%s imports %s, which only %s may", name, imported, door)
				}
			}
		}
	}
}

// TestTheBinaryKeepsOutHeavyLibraries names what must not come in by accident.
func TestTheBinaryKeepsOutHeavyLibraries(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", tags(t), module+"cmd/dragoman").Output()
	if err != nil {
		t.Fatalf("list the dependencies of cmd/dragoman: %v", err)
	}
	for dependency := range strings.FieldsSeq(string(out)) {
		for _, heavy := range []string{"k8s.io/kubernetes/", "testing/", "github.com/google/go-cmp/", "html/template/"} {
			if strings.HasPrefix(dependency+"/", heavy) {
				t.Errorf("cmd/dragoman depends on %s; go list -deps -f '{{.ImportPath}}: {{.Imports}}' says through what",
					dependency)
			}
		}
	}
}

// tags returns the build tags of the programs. What "docker build" compiles must have the same ones.
func tags(t *testing.T) string {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(makefile), "\nTAGS := ")
	all, _, _ := strings.Cut(rest, "\n")
	if !found || !strings.Contains(string(makefile), "go build -trimpath -buildvcs=false -tags $(TAGS)\n") {
		t.Fatal("the Makefile does not say which TAGS the programs are built with")
	}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	builds, same := strings.Count(string(dockerfile), "go build "), strings.Count(string(dockerfile), " -tags "+all+" ")
	if builds != same {
		t.Errorf("%d of %d builds in the Dockerfile have -tags %s, as the Makefile has", same, builds, all)
	}
	return all
}
