package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	componentversion "k8s.io/component-base/version"
)

const versionLong = `Print the version of this program and of the library whose allocator decides: the scheduler of that
Kubernetes release decides the same. It does not ask the cluster.`

// newVersionCommand returns "version".
func newVersionCommand(s *session) *cobra.Command {
	format := newOutputFormat("text", "json", "yaml")
	command := &cobra.Command{
		Use:   "version",
		Short: "The version of this program, and whose allocator it has",
		Long:  versionLong,
		Example: `  kubectl dra version

  # For a script
  kubectl dra version -o json`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{Version: version(), Allocator: allocatorVersion(), Go: runtime.Version(),
				Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if format.value != "text" {
				return s.printObject(format.value, v)
			}
			page := s.newScreen()
			page.linef("kubectl dra %s", v.Version)
			page.linef("allocator and CEL: %s", v.Allocator)
			page.linef("%s %s", v.Go, v.Platform)
			return page.printTo(s.streams.Out)
		},
	}
	format.add(command)
	return command
}

// versionInfo is what "version -o json" prints.
type versionInfo struct {
	Version   string `json:"version"`
	Allocator string `json:"allocator"`
	Go        string `json:"go"`
	Platform  string `json:"platform"`
}

// version is what the linker was told, as in all programs of Kubernetes, else what the Go toolchain recorded.
func version() string {
	if told := componentversion.Get().GitVersion; !strings.HasPrefix(told, "v0.0.0-master") {
		return told
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return cmp.Or(strings.Trim(info.Main.Version, "()"), "devel")
	}
	return "devel"
}

const allocatorModule = "k8s.io/dynamic-resource-allocation"

// allocatorVersion is that of the module the scheduler's allocator comes from: v0.37.2 is in Kubernetes v1.37.2.
func allocatorVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == allocatorModule {
				return m.Path + " " + m.Version
			}
		}
	}
	return allocatorModule
}
