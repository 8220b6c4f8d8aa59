package fault

import (
	"time"

	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/proxy"
	"example.com/dragoman/pkg/sanity/suite"
)

// Options say how much is done to the driver.
type Options struct {
	// Proxy is the driver's way to the API server; nil if dra-sanity does not start it.
	Proxy *proxy.Proxy
	// Seed of everything that is left to chance.
	Seed uint64
	// Steps of the random schedule.
	Steps int
	// Repeats is how often the driver is killed at random moments.
	Repeats int
	// Cycles of the soak, and how many restarts are spread over them.
	Cycles, Restarts int
	// Metrics is where the driver tells its metrics, to count goroutines; may be empty.
	Metrics string
}

// Needs of cases, besides those of package node.
const (
	needsProxy     suite.Need = "a driver that reaches the API server through dra-sanity"
	needsSmallDisk suite.Need = "small file systems for the driver's directories"
)

// What the cases promise is said in more than one of them.
const (
	sourceInvariants = "I1-I6: what is answered is true, nothing is lost, nothing is left, whenever the driver dies"
	sourceKubelet    = "pkg/kubelet/cm/dra: the kubelet repeats a call that failed, and a pod waits until it succeeds"
	sourceUnprepare  = "NodeUnprepareResources names a claim by its UID alone: it has to work without the API server"
	sourcePlugin     = "DRAPlugin (kubeletplugin): calls are idempotent, and may be made again at any time"
)

// Cases returns the cases of "dra-sanity fault". For a list of them the node may be nil.
func Cases(n *node.Node, o Options) []suite.Case {
	r := &rig{Node: n, Options: o}
	var all []suite.Case
	for _, some := range [][]suite.Case{
		r.kills(), r.pauses(), r.apiServer(), r.removals(), r.disks(), r.storms(), r.repeats(), r.random(),
	} {
		all = append(all, some...)
	}
	return all
}

// Unmet says why a need of a case is not met; "" if it is.
func Unmet(n *node.Node, o Options) func(suite.Need) string {
	r := &rig{Node: n, Options: o}
	return func(need suite.Need) string {
		switch need {
		case needsProxy:
			return r.whyNoProxy()
		case needsSmallDisk:
			return r.whyNoDisks()
		case needsStateDir:
			if n.Dirs.State == "" {
				return "needs --state-dir: where the driver keeps what it has to remember"
			}
			return ""
		default:
			return n.Unmet(need)
		}
	}
}

// rig is the node with what is done to it.
type rig struct {
	*node.Node
	Options
}

func (r *rig) whyNoProxy() string {
	if r.Proxy == nil || len(r.Proxy.Requests()) == 0 && len(r.Subject.Running()) > 0 {
		return "needs --start with a driver that uses $DRA_SANITY_KUBECONFIG: its way to the API server must lead through " +
			"dra-sanity"
	}
	return ""
}

// long is the time of cases that do the same thing many times.
const long = 10 * time.Minute
