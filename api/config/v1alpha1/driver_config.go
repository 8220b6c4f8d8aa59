package v1alpha1

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/api/internal/strict"
)

const (
	// GroupName is the API group of this package.
	GroupName = "dragoman.example.com"
	// Version is the version of the API group.
	Version = "v1alpha1"
	// GroupVersion is what a file says as its apiVersion.
	GroupVersion = GroupName + "/" + Version
	// DriverConfigKind is the kind of [DriverConfig].
	DriverConfigKind = "DriverConfig"
	// MachineProfileKind is the kind of [MachineProfile].
	MachineProfileKind = "MachineProfile"
)

// maxSocketPath is how long the path of a Unix socket may be: 108 bytes in struct sockaddr_un, one of them zero.
const maxSocketPath = 107

// DriverConfig says how dragoman runs on a node. Every field can be left out; flags win over it.
type DriverConfig struct {
	metav1.TypeMeta `json:",inline"`

	// NodeName is the name of the Node object that the process runs on. It has no default: the chart sets it by flag.
	// +optional
	NodeName string `json:"nodeName,omitempty"`

	// Kubeconfig is the path of a kubeconfig file. Default: the ServiceAccount of the pod.
	// +optional
	Kubeconfig string `json:"kubeconfig,omitempty"`

	// DriverName is the name of the DRA driver, at most 63 characters. Two installations on one node differ in it.
	// Default: gpu.example.com.
	// +optional
	DriverName string `json:"driverName,omitempty"`

	// Backend is the kind of hardware: mock or nvml. Default: mock.
	// +optional
	Backend string `json:"backend,omitempty"`

	// MockProfile is the machine that the backend mock makes up: the name of a built-in profile or the path of a
	// MachineProfile file. Default: example.
	// +optional
	MockProfile string `json:"mockProfile,omitempty"`

	// KubeletDir is the root directory of the kubelet. Default: /var/lib/kubelet.
	// +optional
	KubeletDir string `json:"kubeletDir,omitempty"`

	// CDIDir is where the container runtime looks for CDI files. Default: /var/run/cdi.
	// +optional
	CDIDir string `json:"cdiDir,omitempty"`

	// StateDir is where the process remembers what is prepared. It must be emptied by a reboot, so it belongs on a
	// tmpfs. Default: /run/dragoman.
	// +optional
	StateDir string `json:"stateDir,omitempty"`

	// PodUID is the UID of the pod that the process runs in. With it, two instances of a rolling update can run side
	// by side. Default: none.
	// +optional
	PodUID string `json:"podUID,omitempty"`

	// HTTPAddress is the address, as host:port, of metrics and health checks; "" turns them off.
	// Default: 127.0.0.1:8080.
	// +optional
	HTTPAddress *string `json:"httpAddress,omitempty"`

	// ProfilingAddress is where to serve Go's profiles (/debug/pprof/), as address:port with an address of the loopback
	// interface. Default: nowhere.
	// +optional
	ProfilingAddress string `json:"profilingAddress,omitempty"`

	// NVML configures the backend nvml, for NVIDIA GPUs.
	// +optional
	NVML NVML `json:"nvml,omitzero"`

	// Health says what becomes of devices that are not healthy.
	// +optional
	Health HealthPolicy `json:"health,omitzero"`

	// DeviceStatus has the status of claims show the devices that are set up for them, and how they are (KEP-4817; feature
	// gate DRAResourceClaimDeviceStatus, on by default since Kubernetes 1.33). It costs the API server a request after a
	// claim is prepared and one after it is taken back. Default: true.
	// +optional
	DeviceStatus *bool `json:"deviceStatus,omitempty"`

	// DeviceMetadata puts a file into containers that says which devices they have, with their attributes (KEP-5304),
	// below /var/run/kubernetes.io/dra-device-attributes. It costs each prepare writes that wait for the disk.
	// Default: false.
	// +optional
	DeviceMetadata bool `json:"deviceMetadata,omitempty"`

	// Logging says what the log looks like.
	// +optional
	Logging Logging `json:"logging,omitzero"`
}

// NVML configures the backend for NVIDIA GPUs.
type NVML struct {
	// DriverRoot is the directory below which the NVIDIA driver is installed, as this process sees it: / on the host
	// itself, the place where the host's directory is mounted in a container. Default: /.
	// +optional
	DriverRoot string `json:"driverRoot,omitempty"`

	// HostDriverRoot is the same directory as the host sees it, for CDI files. Default: driverRoot.
	// +optional
	HostDriverRoot string `json:"hostDriverRoot,omitempty"`

	// DevRoot is the directory whose dev/ holds the device nodes of the GPUs, as this process sees it.
	// Default: driverRoot if there is a dev/ in it, else /.
	// +optional
	DevRoot string `json:"devRoot,omitempty"`

	// LibraryPath is the path of libnvidia-ml.so.1 below driverRoot, where it is in none of the usual places.
	// +optional
	LibraryPath string `json:"libraryPath,omitempty"`

	// CDIHookPath is where the host has the program nvidia-cdi-hook, which the container runtime calls to make the
	// driver's libraries known in a container. Default: the one that comes with the image, copied into the driver's
	// directory below kubeletDir/plugins; where the image has none, /usr/bin/nvidia-cdi-hook.
	// +optional
	CDIHookPath string `json:"cdiHookPath,omitempty"`

	// DynamicMIG offers every way to cut a MIG-capable GPU, and cuts when a claim is prepared. Without it, those MIG
	// devices are offered that somebody made. Default: false.
	// +optional
	DynamicMIG bool `json:"dynamicMIG,omitempty"`

	// IgnoredXIDs are numbers of NVIDIA errors (XID) that do not make a device unhealthy, besides those that programs
	// cause by themselves (13, 31, 43, 45, 68, 109).
	// +optional
	IgnoredXIDs []int `json:"ignoredXIDs,omitempty"`
}

// The effects of a taint, and none.
const (
	TaintNoSchedule = "NoSchedule"
	TaintNoExecute  = "NoExecute"
	TaintNone       = "None"
)

// What becomes of an unhealthy device on a cluster without device taints.
const (
	KeepDevice     = "Keep"
	LeaveOutDevice = "LeaveOut"
)

// HealthPolicy says what becomes of devices that are not healthy.
type HealthPolicy struct {
	// TaintEffect is the effect of the taint <driver name>/unhealthy that an unhealthy device gets: NoSchedule keeps
	// new pods away, NoExecute also evicts those that use it, None sets no taint. Default: NoSchedule.
	// +enum=NoSchedule,NoExecute,None
	// +optional
	TaintEffect string `json:"taintEffect,omitempty"`

	// WithoutTaints says what becomes of a device that is unhealthy, or that has a taint of its own, on a cluster whose
	// API server drops taints (feature gate DRADeviceTaints, off by default before Kubernetes 1.36): LeaveOut does not
	// publish it as long as that is so, Keep publishes it without the taint. Default: LeaveOut.
	// +enum=Keep,LeaveOut
	// +optional
	WithoutTaints string `json:"withoutTaints,omitempty"`
}

// Logging says what the log looks like.
type Logging struct {
	// Format is text or json. Default: text.
	// +enum=text,json
	// +optional
	Format string `json:"format,omitempty"`

	// Verbosity is how much is logged: 0 what an operator must know, 2 what changes, 4 each call, 6 everything.
	// Default: 2.
	// +minimum=0
	// +optional
	Verbosity *int `json:"verbosity,omitempty"`
}

// DecodeDriverConfig reads a DriverConfig strictly. What the file leaves out stays empty, so that flags can be laid
// over it before SetDefaults.
func DecodeDriverConfig(raw []byte) (*DriverConfig, field.ErrorList) {
	config := &DriverConfig{}
	gvk := schema.GroupVersionKind{Group: GroupName, Version: Version, Kind: DriverConfigKind}
	if errs := strict.Decode(raw, nil, gvk, config); len(errs) > 0 {
		return nil, errs
	}
	return config, nil
}

// SetDefaults sets what is empty; [DriverConfig] says to what.
func (c *DriverConfig) SetDefaults() {
	c.APIVersion, c.Kind = GroupVersion, DriverConfigKind
	setDefault(&c.DriverName, "gpu.example.com")
	setDefault(&c.Backend, "mock")
	setDefault(&c.MockProfile, "example")
	setDefault(&c.KubeletDir, "/var/lib/kubelet")
	setDefault(&c.CDIDir, "/var/run/cdi")
	setDefault(&c.StateDir, "/run/dragoman")
	setDefault(&c.NVML.DriverRoot, "/")
	setDefault(&c.NVML.HostDriverRoot, c.NVML.DriverRoot)
	setDefault(&c.Health.TaintEffect, TaintNoSchedule)
	setDefault(&c.Health.WithoutTaints, LeaveOutDevice)
	setDefault(&c.Logging.Format, "text")
	if c.HTTPAddress == nil {
		c.HTTPAddress = new("127.0.0.1:8080")
	}
	if c.DeviceStatus == nil {
		c.DeviceStatus = new(true)
	}
	if c.Logging.Verbosity == nil {
		c.Logging.Verbosity = new(2)
	}
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Validate reports all that is wrong with a config after SetDefaults.
func (c *DriverConfig) Validate() field.ErrorList {
	var errs field.ErrorList
	invalid := func(name, value string, problems ...string) {
		for _, problem := range problems {
			errs = append(errs, field.Invalid(field.NewPath(name), value, problem))
		}
	}
	if c.NodeName == "" {
		errs = append(errs, field.Required(field.NewPath("nodeName"), "set it here or with --node-name"))
	} else {
		invalid("nodeName", c.NodeName, validation.IsDNS1123Subdomain(c.NodeName)...)
	}
	invalid("driverName", c.DriverName, validation.IsDNS1123Subdomain(c.DriverName)...)
	if most := validation.DNS1123LabelMaxLength; len(c.DriverName) > most {
		errs = append(errs, field.TooLong(field.NewPath("driverName"), c.DriverName, most))
	}
	invalid("backend", c.Backend, validation.IsDNS1123Label(c.Backend)...)
	if c.PodUID != "" && !isUID(c.PodUID) {
		invalid("podUID", c.PodUID, "must be at most 64 letters, digits and dashes")
	}
	for _, dir := range []struct{ name, path string }{
		{"kubeletDir", c.KubeletDir}, {"cdiDir", c.CDIDir}, {"stateDir", c.StateDir},
	} {
		if !filepath.IsAbs(dir.path) {
			invalid(dir.name, dir.path, "must be an absolute path")
		}
	}
	errs = append(errs, c.validateSocketPaths()...)
	errs = append(errs, c.validateHTTPAddress()...)
	if address, err := netip.ParseAddrPort(c.ProfilingAddress); c.ProfilingAddress != "" &&
		(err != nil || !address.Addr().IsLoopback()) {
		invalid("profilingAddress", c.ProfilingAddress,
			`must be an address of the loopback interface and a port, such as "127.0.0.1:6060"`)
	}
	errs = append(errs, c.NVML.validate()...)
	errs = append(errs, c.Health.validate()...)
	return append(errs, c.Logging.validate()...)
}

// validateSocketPaths checks the sockets that the helper library makes below the kubelet's directory.
func (c *DriverConfig) validateSocketPaths() field.ErrorList {
	plugin := "dra.sock"
	if c.PodUID != "" {
		plugin = "dra-" + c.PodUID + ".sock"
	}
	var errs field.ErrorList
	for _, socket := range []string{
		filepath.Join(c.KubeletDir, "plugins", c.DriverName, plugin),
		c.registrationSocket(),
	} {
		if over := len(socket) - maxSocketPath; over > 0 {
			errs = append(errs, field.Invalid(field.NewPath("kubeletDir"), c.KubeletDir, fmt.Sprintf(
				"the socket path %s has %d bytes and may have %d; make kubeletDir or driverName %d bytes shorter",
				socket, len(socket), maxSocketPath, over)))
		}
	}
	return errs
}

// registrationSocket has the length of the path that kubeletplugin.RollingUpdateRegistrarSocketFile chooses: the first
// of these names that it believes to fit. It counts with one byte more than the kernel and Go accept.
func (c *DriverConfig) registrationSocket() string {
	dir := filepath.Join(c.KubeletDir, "plugins_registry")
	if c.PodUID == "" {
		return filepath.Join(dir, c.DriverName+"-reg.sock")
	}
	const hashOfUID, hashOfBoth = 11, 22
	for _, name := range []string{
		c.DriverName + "-" + c.PodUID,
		c.DriverName + "-" + strings.Repeat("#", hashOfUID),
	} {
		if socket := filepath.Join(dir, name+"-reg.sock"); len(socket) <= maxSocketPath+1 {
			return socket
		}
	}
	return filepath.Join(dir, "dra-"+strings.Repeat("#", hashOfBoth)+"-reg.sock")
}

func (c *DriverConfig) validateHTTPAddress() field.ErrorList {
	if c.HTTPAddress == nil || *c.HTTPAddress == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(*c.HTTPAddress)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		detail := `must be host:port, such as "127.0.0.1:8080", or "" for none`
		return field.ErrorList{field.Invalid(field.NewPath("httpAddress"), *c.HTTPAddress, detail)}
	}
	return nil
}

func (n *NVML) validate() field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("nvml")
	for _, dir := range []struct{ name, path string }{
		{"driverRoot", n.DriverRoot}, {"hostDriverRoot", n.HostDriverRoot}, {"devRoot", n.DevRoot},
		{"libraryPath", n.LibraryPath}, {"cdiHookPath", n.CDIHookPath},
	} {
		if dir.path != "" && !filepath.IsAbs(dir.path) {
			errs = append(errs, field.Invalid(at.Child(dir.name), dir.path, "must be an absolute path"))
		}
	}
	for i, xid := range n.IgnoredXIDs {
		if xid < 1 {
			errs = append(errs, field.Invalid(at.Child("ignoredXIDs").Index(i), xid, "must be a positive number"))
		}
	}
	return errs
}

func (h *HealthPolicy) validate() field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("health")
	if effects := []string{TaintNoSchedule, TaintNoExecute, TaintNone}; !slices.Contains(effects, h.TaintEffect) {
		errs = append(errs, field.NotSupported(at.Child("taintEffect"), h.TaintEffect, effects))
	}
	if ways := []string{KeepDevice, LeaveOutDevice}; !slices.Contains(ways, h.WithoutTaints) {
		errs = append(errs, field.NotSupported(at.Child("withoutTaints"), h.WithoutTaints, ways))
	}
	return errs
}

func (l *Logging) validate() field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("logging")
	if l.Format != "text" && l.Format != "json" {
		errs = append(errs, field.NotSupported(at.Child("format"), l.Format, []string{"text", "json"}))
	}
	if l.Verbosity != nil && *l.Verbosity < 0 {
		errs = append(errs, field.Invalid(at.Child("verbosity"), *l.Verbosity, "must not be negative"))
	}
	return errs
}

func isUID(s string) bool {
	outside := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-'
	}
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, outside)
}
