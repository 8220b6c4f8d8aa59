package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"example.com/dragoman/pkg/device"
)

// runtime asks the container runtime whether it reads CDI files from the directory into which they are written.
func runtime(ctx context.Context, o Options) []device.Finding {
	const subject = "container runtime"
	at := slices.IndexFunc(o.RuntimeSockets, func(path string) bool { _, err := os.Stat(path); return err == nil })
	if at < 0 {
		return doubtful(subject, "cannot be asked: none of its sockets is here ("+strings.Join(o.RuntimeSockets, ", ")+")",
			"run this on the node itself; containerd needs version 2.0, or 1.7 with enable_cdi = true")
	}
	info, err := askRuntime(ctx, o.RuntimeSockets[at])
	if err != nil {
		return doubtful(subject, fmt.Sprintf("does not answer at %s: %v", o.RuntimeSockets[at], err),
			"run this on the node as root")
	}
	return judge(info, o.CDIDir)
}

// runtimeInfo is what a runtime says of itself.
type runtimeInfo struct {
	name string // with its version
	// cdi is its setting; nil if it does not say. containerd 2 and CRI-O do CDI unless told not to.
	cdi *bool
	// dirs are where it looks for CDI files; nil if it does not say.
	dirs []string
}

func judge(info runtimeInfo, dir string) []device.Finding {
	const subject = "container runtime"
	switch {
	case info.cdi != nil && !*info.cdi:
		return bad(subject, info.name+" does not use CDI, so containers would not get their devices",
			"set enable_cdi = true for its CRI plugin and restart it")
	case info.dirs != nil && !slices.ContainsFunc(info.dirs, func(d string) bool { return sameDirectory(d, dir) }):
		return bad(subject, fmt.Sprintf("%s looks for CDI files in %s, not in %s", info.name, strings.Join(info.dirs, ", "),
			dir), "set --cdi-dir to one of them")
	case info.cdi == nil && info.dirs == nil:
		return doubtful(subject, info.name+" does not say whether it uses CDI",
			"see its documentation; CRI-O and containerd from 2.0 on do")
	}
	return good(subject, info.name+" reads CDI files from "+dir)
}

// sameDirectory knows that /var/run is /run.
func sameDirectory(a, b string) bool {
	resolved := func(path string) string {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		return strings.TrimPrefix(filepath.Clean(path), "/var")
	}
	return resolved(a) == resolved(b)
}

// askRuntime uses Status of the CRI, whose verbose answer has the configuration in effect of containerd
// (containerd, internal/cri/server/status.go).
func askRuntime(ctx context.Context, socket string) (runtimeInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return runtimeInfo{}, err
	}
	defer func() { _ = conn.Close() }()
	client := criapi.NewRuntimeServiceClient(conn)
	version, err := client.Version(ctx, &criapi.VersionRequest{})
	if err != nil {
		return runtimeInfo{}, err
	}
	info := runtimeInfo{name: version.GetRuntimeName() + " " + version.GetRuntimeVersion()}
	status, err := client.Status(ctx, &criapi.StatusRequest{Verbose: true})
	if err != nil {
		return runtimeInfo{}, err
	}
	var config struct {
		EnableCDI   *bool    `json:"enableCDI"`
		CDISpecDirs []string `json:"cdiSpecDirs"`
	}
	// What cannot be read was not said: other runtimes have other words.
	if json.Unmarshal([]byte(status.GetInfo()["config"]), &config) == nil {
		info.cdi, info.dirs = config.EnableCDI, config.CDISpecDirs
	}
	return info, nil
}
