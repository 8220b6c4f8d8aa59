package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/nearest"
)

type driverConfig = configv1alpha1.DriverConfig

// setting is a flag that sets a field of the configuration.
type setting struct {
	name, value, usage string
	set                func(c *driverConfig, value string)
}

func settingFlags() []setting {
	return []setting{
		{"node-name", "NAME", "name of the Node this runs on, as in \"kubectl get nodes\" (default: $NODE_NAME)",
			func(c *driverConfig, v string) { c.NodeName = v }},
		{"kubeconfig", "FILE", "how to reach the API server (default: the pod's service account, or as kubectl does)",
			func(c *driverConfig, v string) { c.Kubeconfig = v }},
		{"driver-name", "NAME", "name of the DRA driver (default: gpu.example.com)",
			func(c *driverConfig, v string) { c.DriverName = v }},
		{"backend", "NAME", "kind of hardware: " + strings.Join(backendNames(), ", ") + " (default: mock)",
			func(c *driverConfig, v string) { c.Backend = v }},
		{"mock-profile", "NAME|FILE", "machine that the backend mock makes up (default: example)",
			func(c *driverConfig, v string) { c.MockProfile = v }},
		{"driver-root", "DIR", "where the NVIDIA driver is installed, as this process sees it (default: /)",
			func(c *driverConfig, v string) { c.NVML.DriverRoot = v }},
		{"kubelet-dir", "DIR", "the kubelet's root directory (default: /var/lib/kubelet)",
			func(c *driverConfig, v string) { c.KubeletDir = v }},
		{"cdi-dir", "DIR", "where the container runtime looks for CDI files (default: /var/run/cdi)",
			func(c *driverConfig, v string) { c.CDIDir = v }},
		{"state-dir", "DIR", "where to remember what is prepared; to be on a tmpfs (default: /run/dragoman)",
			func(c *driverConfig, v string) { c.StateDir = v }},
		{"profiling-address", "ADDR", "where to serve Go's profiles, on the loopback interface (default: nowhere)",
			func(c *driverConfig, v string) { c.ProfilingAddress = v }},
	}
}

// fileOnly are fields of the configuration without a flag, by what somebody may take for their flag.
func fileOnly() map[string]string {
	return map[string]string{
		"http-address": "httpAddress", "logging-format": "logging.format", "log-format": "logging.format",
		"pod-uid": "podUID", "metrics-address": "httpAddress", "verbosity": "logging.verbosity (flag: -v)",
		"dynamic-mig": "nvml.dynamicMIG", "dev-root": "nvml.devRoot", "library-path": "nvml.libraryPath",
		"device-status": "deviceStatus", "device-metadata": "deviceMetadata",
	}
}

// configVariable names the variable that stands for --config.
const configVariable = "DRAGOMAN_CONFIG"

// settings are what the command line says. What wins over what: defaults < file < flags. The variables NODE_NAME and
// POD_UID, by which a pod learns about itself, stand for the defaults of the two fields.
type settings struct {
	flags     *flag.FlagSet
	usageLine string
	others    []subcommand

	file     string
	version  bool
	output   *string // devices only
	words    bool    // the command line goes on after the flags; mock only
	more     string  // what else the help says
	nodeName string  // to fall back to; devices, doctor and controller only
	own      []ownFlag
	overlay  []func(*driverConfig)
}

func newSettings(usageLine string, others []subcommand) *settings {
	s := &settings{flags: flag.NewFlagSet("dragoman", flag.ContinueOnError), usageLine: usageLine, others: others}
	s.flags.SetOutput(io.Discard)
	s.flags.StringVar(&s.file, "config", "", "")
	s.flags.BoolVar(&s.version, "version", false, "")
	for _, one := range settingFlags() {
		s.flags.Func(one.name, one.usage, func(value string) error {
			s.overlay = append(s.overlay, func(c *driverConfig) { one.set(c, value) })
			return nil
		})
	}
	s.flags.Func("v", "", func(value string) error {
		level, err := strconv.Atoi(value)
		if err != nil {
			return errors.New("must be a number")
		}
		s.overlay = append(s.overlay, func(c *driverConfig) { c.Logging.Verbosity = &level })
		return nil
	})
	return s
}

// ownFlag is a flag of one sub-command alone; set is a *string or a *bool, with the default.
type ownFlag struct {
	name, value, usage string
	set                any
}

func (s *settings) addOwn(flags []ownFlag) {
	s.own = flags
	for _, one := range flags {
		switch set := one.set.(type) {
		case *string:
			s.flags.StringVar(set, one.name, *set, one.usage)
		case *bool:
			s.flags.BoolVar(set, one.name, *set, one.usage)
		}
	}
}

// parse reads the command line. It is done if that only asked for something to be printed.
func (s *settings) parse(args []string, stdout io.Writer) (done bool, err error) {
	switch err := s.flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, s.usage())
		return true, err
	case err != nil:
		return false, s.explain(err)
	case s.flags.NArg() > 0 && !s.words:
		for _, other := range s.others {
			if other.name == s.flags.Arg(0) {
				return false, &usageError{fmt.Sprintf("the sub-command comes first: dragoman %s [flags]", other.name)}
			}
		}
		return false, &usageError{fmt.Sprintf("unexpected argument %q; all settings are flags, see \"dragoman --help\"",
			s.flags.Arg(0))}
	case s.version:
		_, err := fmt.Fprintf(stdout, "dragoman %s %s %s/%s\n",
			version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return true, err
	}
	return false, nil
}

// explain says of an error of package flag what to do.
func (s *settings) explain(err error) error {
	const seeHelp = "\"dragoman --help\" lists all flags"
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return &usageError{fmt.Sprintf("%v; %s", err, seeHelp)}
	}
	name = strings.TrimPrefix(name, "-")
	if key, ok := fileOnly()[name]; ok {
		return &usageError{fmt.Sprintf("unknown flag --%s: it is a setting of the file that --config names, %s",
			name, key)}
	}
	if near := s.nearest(name); near != "" {
		return &usageError{fmt.Sprintf("unknown flag --%s; did you mean --%s? %s", name, near, seeHelp)}
	}
	return &usageError{fmt.Sprintf("unknown flag --%s; %s", name, seeHelp)}
}

// nearest returns the flag that differs least from name, "" if none is near.
func (s *settings) nearest(name string) string {
	var known []string
	s.flags.VisitAll(func(f *flag.Flag) {
		if len(f.Name) > 1 {
			known = append(known, f.Name)
		}
	})
	return nearest.Of(name, known)
}

func (s *settings) usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\nFlags:\n", s.usageLine)
	line := func(name, value, usage string) {
		fmt.Fprintf(&b, "  %-25s %s\n", strings.TrimSpace(name+" "+value), usage)
	}
	line("--config", "FILE",
		"DriverConfig ("+configv1alpha1.GroupVersion+") with these and more settings; flags win over it "+
			"(default: $"+configVariable+")")
	for _, one := range settingFlags() {
		line("--"+one.name, one.value, one.usage)
	}
	for _, one := range s.own {
		line("--"+one.name, one.value, one.usage)
	}
	if s.output != nil {
		line("-o", "FORMAT", "table or yaml (default: table)")
	}
	line("-v", "LEVEL", "how much to log: 0 what must be known, 2 what changes, 4 each call, 6 all (default: 2)")
	line("--version", "", "print the version")
	if len(s.others) > 0 {
		b.WriteString("\nSub-commands:\n")
		for _, other := range s.others {
			line(other.name, "", other.summary)
		}
	}
	b.WriteString(s.more)
	return b.String()
}

// config returns the configuration in effect.
func (s *settings) config(getenv func(string) string) (*driverConfig, error) {
	config := &driverConfig{}
	file, named := s.file, "--config"
	if file == "" { // so that a command in the pod of the driver finds what the driver has
		file, named = getenv(configVariable), "$"+configVariable
	}
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("%s: %v", named, err)}
		}
		decoded, errs := configv1alpha1.DecodeDriverConfig(raw)
		if len(errs) > 0 {
			return nil, &usageError{fmt.Sprintf("%s %s: %s", named, file, sentences(errs))}
		}
		config = decoded
	}
	for _, lay := range s.overlay {
		lay(config)
	}
	if config.NodeName == "" {
		config.NodeName = getenv("NODE_NAME")
	}
	if config.PodUID == "" {
		config.PodUID = getenv("POD_UID")
	}
	if config.NodeName == "" {
		config.NodeName = s.nodeName
	}
	config.SetDefaults()
	if errs := config.Validate(); len(errs) > 0 {
		return nil, &usageError{"configuration: " + sentences(errs)}
	}
	return config, nil
}

// sentences puts one problem on a line if there are several.
func sentences(errs field.ErrorList) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems", len(errs))
	for _, err := range errs {
		b.WriteString("\n  " + err.Error())
	}
	return b.String()
}
