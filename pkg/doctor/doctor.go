// Package doctor looks at a node and says what dragoman lacks there: directories of the kubelet, CDI in the container
// runtime, the API server and the rights to use it. It changes nothing. What a kind of hardware needs is said by its
// backend ([device.Examiner]).
package doctor

import (
	"context"
	"time"

	"k8s.io/client-go/kubernetes"

	"example.com/dragoman/pkg/device"
)

// patience is how long anybody may take to answer one question.
const patience = 5 * time.Second

// Options say what is looked at.
type Options struct {
	DriverName, NodeName string
	// KubeletDir, CDIDir and StateDir are the directories of the configuration.
	KubeletDir, CDIDir, StateDir string
	// RuntimeSockets are where a container runtime may listen (CRI), the first that is there counts.
	RuntimeSockets []string
	// Client reaches the API server; nil if it cannot be reached because of NoClient.
	Client   kubernetes.Interface
	NoClient error
	Backend  device.Backend
}

// RuntimeSockets returns where container runtimes listen by default.
func RuntimeSockets() []string {
	return []string{"/run/containerd/containerd.sock", "/var/run/crio/crio.sock", "/run/crio/crio.sock"}
}

// Examine returns what it found, in the order in which things depend on each other. One that cannot be looked at is
// doubtful, and does not keep the others from being looked at.
func Examine(ctx context.Context, o Options) []device.Finding {
	var findings []device.Finding
	for _, look := range []func(context.Context, Options) []device.Finding{
		kubelet, cdiDirectory, stateDirectory, otherPlugins, runtime, apiServer, hardware,
	} {
		findings = append(findings, look(ctx, o)...)
	}
	return findings
}

func hardware(ctx context.Context, o Options) []device.Finding {
	if examiner, ok := o.Backend.(device.Examiner); ok {
		return examiner.Examine(ctx)
	}
	const subject = "devices"
	snapshot, err := o.Backend.Devices(ctx)
	switch {
	case err != nil:
		return bad(subject, err.Error(), "\"dragoman devices\" says more")
	case len(snapshot.Devices) == 0:
		return doubtful(subject, "there are none on this node", "")
	}
	return good(subject, plural(len(snapshot.Devices), "device")+" on this node")
}

func good(subject, detail string) []device.Finding {
	return []device.Finding{{Subject: subject, Verdict: device.Good, Detail: detail}}
}

func doubtful(subject, detail, mend string) []device.Finding {
	return []device.Finding{{Subject: subject, Verdict: device.Doubtful, Detail: detail, Mend: mend}}
}

func bad(subject, detail, mend string) []device.Finding {
	return []device.Finding{{Subject: subject, Verdict: device.Bad, Detail: detail, Mend: mend}}
}
