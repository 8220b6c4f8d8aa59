package v1alpha1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const driverHead = "apiVersion: dragoman.example.com/v1alpha1\nkind: DriverConfig\n"

// wantProblems compares problems with the beginnings of their texts.
func wantProblems(t *testing.T, want []string, got field.ErrorList) {
	t.Helper()
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected: %s", got[i].Error())
		case !strings.HasPrefix(got[i].Error(), want[i]):
			t.Errorf("%s\ndoes not begin with\n%s", got[i].Error(), want[i])
		}
	}
}

func TestDecodeDriverConfig(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		want DriverConfig
	}{
		"nothing": {"", DriverConfig{}},
		"everything": {`
nodeName: node-a
kubeconfig: /k
driverName: gpu.example.org
backend: nvml
mockProfile: mixed
kubeletDir: /kubelet
cdiDir: /cdi
stateDir: /state
podUID: abc-1
httpAddress: ""
profilingAddress: 127.0.0.1:6060
nvml: {driverRoot: /d, hostDriverRoot: /h, devRoot: /e, libraryPath: /l, cdiHookPath: /c,
  dynamicMIG: true, ignoredXIDs: [94]}
health: {taintEffect: None, withoutTaints: LeaveOut}
deviceStatus: false
deviceMetadata: true
logging: {format: json, verbosity: 0}
`, DriverConfig{
			NodeName: "node-a", Kubeconfig: "/k", DriverName: "gpu.example.org", Backend: "nvml", MockProfile: "mixed",
			KubeletDir: "/kubelet", CDIDir: "/cdi", StateDir: "/state", PodUID: "abc-1", HTTPAddress: new(""),
			ProfilingAddress: "127.0.0.1:6060",
			NVML: NVML{DriverRoot: "/d", HostDriverRoot: "/h", DevRoot: "/e", LibraryPath: "/l", CDIHookPath: "/c",
				DynamicMIG: true, IgnoredXIDs: []int{94}},
			Health:  HealthPolicy{TaintEffect: TaintNone, WithoutTaints: LeaveOutDevice},
			Logging: Logging{Format: "json", Verbosity: new(0)}, DeviceStatus: new(false), DeviceMetadata: true,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := DecodeDriverConfig([]byte(driverHead + test.raw))
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			test.want.TypeMeta = metav1.TypeMeta{APIVersion: GroupVersion, Kind: DriverConfigKind}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Error(diff)
			}
			given := *got
			got.SetDefaults()
			if got.NodeName = "node-a"; len(got.Validate()) > 0 {
				t.Error(got.Validate().ToAggregate())
			}
			if name == "everything" {
				if diff := cmp.Diff(given, *got); diff != "" {
					t.Errorf("defaults replaced what was given: %s", diff)
				}
			}
		})
	}
}

func TestDriverConfigDefaults(t *testing.T) {
	var got DriverConfig
	got.SetDefaults()
	want := DriverConfig{
		TypeMeta:   metav1.TypeMeta{APIVersion: GroupVersion, Kind: DriverConfigKind},
		DriverName: "gpu.example.com", Backend: "mock", MockProfile: "example", KubeletDir: "/var/lib/kubelet",
		CDIDir: "/var/run/cdi", StateDir: "/run/dragoman", HTTPAddress: new("127.0.0.1:8080"),
		NVML:    NVML{DriverRoot: "/", HostDriverRoot: "/"},
		Health:  HealthPolicy{TaintEffect: TaintNoSchedule, WithoutTaints: LeaveOutDevice},
		Logging: Logging{Format: "text", Verbosity: new(2)}, DeviceStatus: new(true),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeDriverConfigRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"nothing": {"", []string{`document: Invalid value: "": is empty`}},
		"a profile": {profileHead, []string{
			`kind: Unsupported value: "MachineProfile": supported values: "DriverConfig"`,
		}},
		"a flag's name, a wrong case, an unknown field, a number for a text": {
			driverHead + "node-name: a\nCDIDir: /x\nspeed: 1\nlogging: {Format: text, verbosity: '2'}\nstateDir: " +
				"7\n", []string{
				`node-name: Forbidden: no such field; did you mean "nodeName"?`,
				`CDIDir: Forbidden: no such field; did you mean "cdiDir"?`,
				`speed: Forbidden: no such field; there are: apiVersion, backend, cdiDir,`,
				`logging.Format: Forbidden: no such field; did you mean "format"?`,
				`logging.verbosity: Invalid value: "2": must be a whole number`,
				`stateDir: Invalid value: "7": must be a string; put it in quotes`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := DecodeDriverConfig([]byte(test.raw))
			if got != nil {
				t.Errorf("got %v besides the problems", got)
			}
			wantProblems(t, test.want, errs)
		})
	}
}

func TestDriverConfigValidate(t *testing.T) {
	const uid = "12345678-1234-4234-8234-123456789abc"
	for name, test := range map[string]struct {
		change func(c *DriverConfig)
		want   []string
	}{
		"all is well": {func(*DriverConfig) {}, nil},
		"no node name": {func(c *DriverConfig) { c.NodeName = "" }, []string{
			`nodeName: Required value: set it here or with --node-name`,
		}},
		"everything at once": {func(c *DriverConfig) {
			*c = DriverConfig{
				NodeName: "Node_A", DriverName: "GPU", Backend: "a " +
					"b", KubeletDir: "kubelet", CDIDir: "cdi", StateDir: "",
				PodUID: "a/b", HTTPAddress: new("8080"), Logging: Logging{Format: "xml", Verbosity: new(-1)},
				NVML:   NVML{DriverRoot: "d", CDIHookPath: "hook", IgnoredXIDs: []int{31, 0}},
				Health: HealthPolicy{TaintEffect: "Evict", WithoutTaints: "Hide"},
			}
		}, []string{
			`nodeName: Invalid value: "Node_A": a lowercase RFC 1123 subdomain`,
			`driverName: Invalid value: "GPU": a lowercase RFC 1123 subdomain`,
			`backend: Invalid value: "a b": a lowercase RFC 1123 label`,
			`podUID: Invalid value: "a/b": must be at most 64 letters, digits and dashes`,
			`kubeletDir: Invalid value: "kubelet": must be an absolute path`,
			`cdiDir: Invalid value: "cdi": must be an absolute path`,
			`stateDir: Invalid value: "": must be an absolute path`,
			`httpAddress: Invalid value: "8080": must be host:port, such as "127.0.0.1:8080", or "" for none`,
			`nvml.driverRoot: Invalid value: "d": must be an absolute path`,
			`nvml.cdiHookPath: Invalid value: "hook": must be an absolute path`,
			`nvml.ignoredXIDs[1]: Invalid value: 0: must be a positive number`,
			`health.taintEffect: Unsupported value: "Evict": supported values: "NoSchedule", "NoExecute", "None"`,
			`health.withoutTaints: Unsupported value: "Hide": supported values: "Keep", "LeaveOut"`,
			`logging.format: Unsupported value: "xml": supported values: "text", "json"`,
			`logging.verbosity: Invalid value: -1: must not be negative`,
		}},
		"a driver name of 64 characters": {func(c *DriverConfig) { c.DriverName = strings.Repeat("a", 64) }, []string{
			`driverName: Too long: may not be more than 63 bytes`,
		}},
		"a port that is none": {
			func(c *DriverConfig) { c.HTTPAddress = new(":http") }, []string{`httpAddress: Invalid value`},
		},
		"profiles on the loopback interface": {func(c *DriverConfig) { c.ProfilingAddress = "[::1]:0" }, nil},
		"profiles for everybody": {func(c *DriverConfig) { c.ProfilingAddress = "0.0.0.0:6060" }, []string{
			`profilingAddress: Invalid value: "0.0.0.0:6060": must be an address of the loopback interface and a port`,
		}},
		"profiles on all interfaces, said in short": {func(c *DriverConfig) { c.ProfilingAddress = ":6060" }, []string{
			`profilingAddress: Invalid value: ":6060"`,
		}},
		"profiles on a name, which can mean any address": {
			func(c *DriverConfig) { c.ProfilingAddress = "localhost:6060" },
			[]string{`profilingAddress: Invalid value: "localhost:6060"`},
		},
		"any interface": {func(c *DriverConfig) { c.HTTPAddress = new(":0") }, nil},
		"no address":    {func(c *DriverConfig) { c.HTTPAddress = new("") }, nil},
		"a socket path that just fits": {func(c *DriverConfig) {
			c.KubeletDir = "/" + strings.Repeat("k", 107-len("/"+"/plugins_registry/gpu.example.com-reg.sock"))
		}, nil},
		"socket paths that do not " +
			"fit": {func(c *DriverConfig) { c.KubeletDir = "/" + strings.Repeat("k", 80) }, []string{
			`kubeletDir: Invalid value: "/kkkkkkkkkk`,
			`kubeletDir: Invalid value: "/kkkkkkkkkk`,
		}},
		"a pod UID makes the socket path longer": {func(c *DriverConfig) {
			c.KubeletDir, c.PodUID = "/"+strings.Repeat("k", 39), uid
		}, []string{
			`kubeletDir: Invalid value: "/` + strings.Repeat("k", 39) + `": the socket path ` +
				`/` + strings.Repeat("k", 39) +
				`/plugins/gpu.example.com/dra-` + uid + `.sock has 110 bytes and may have 107; ` +
				`make kubeletDir or driverName 3 bytes shorter`,
		}},
		"a socket name that the helper library believes to fit": {func(c *DriverConfig) {
			c.DriverName, c.PodUID = "g.io", uid
			c.KubeletDir = "/" + strings.Repeat("k", 108-len("/"+"/plugins_registry/g.io-"+uid+"-reg.sock"))
		}, []string{`kubeletDir: Invalid value: "/kkk`}},
		"a socket name that the helper library shortens": {func(c *DriverConfig) {
			c.DriverName, c.PodUID = "g.io", uid
			c.KubeletDir = "/" + strings.Repeat("k", 109-len("/"+"/plugins_registry/g.io-"+uid+"-reg.sock"))
		}, nil},
		"a socket name that the helper library hashes": {func(c *DriverConfig) {
			c.DriverName, c.PodUID = strings.Repeat("a", 32), "0"
			c.KubeletDir = "/" + strings.Repeat("k", 41)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := DriverConfig{NodeName: "node-a"}
			c.SetDefaults()
			test.change(&c)
			wantProblems(t, test.want, c.Validate())
		})
	}
}

func FuzzDecodeDriverConfig(f *testing.F) {
	for _, raw := range []string{
		driverHead, driverHead + "nodeName: a\nlogging: {format: text, verbosity: 3}\n", driverHead + "kubeletDir:" +
			" /\nhttpAddress: '['\n",
		`{"apiVersion":"dragoman.example.com/v1alpha1","kind":"DriverConfig","podUID":"x"}`, "", "[", profileHead,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		config, errs := DecodeDriverConfig(raw)
		if (config == nil) == (len(errs) == 0) {
			t.Fatalf("%v, %v", config, errs)
		}
		if config != nil {
			config.SetDefaults()
			config.Validate()
		}
	})
}
