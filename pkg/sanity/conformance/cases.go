// Package conformance holds what is promised by a DRA driver towards the kubelet, the API server and the container
// runtime, each as a case. A case is about what somebody else relies on, says who, and leaves to the driver how.
//
// The room is larger than others because it is a list: a case is a few lines, and there are sixty.
package conformance

import (
	"regexp"
	"slices"
	"time"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

// Options are what cases about a driver's own parameters need.
type Options struct {
	// Parameters are opaque parameters, as JSON, that the driver accepts in a claim.
	Parameters string
	// Effect matches an environment variable, NAME=value, that a container gets if and only if Parameters apply to a
	// device of its claim. What matches must differ from device to device.
	Effect *regexp.Regexp
}

// NeedsParameters is met by Options with both fields.
const NeedsParameters suite.Need = "parameters that the driver accepts"

// Unmet says why the need for parameters is not met.
func (o Options) Unmet(need suite.Need) string {
	if need == NeedsParameters && (o.Parameters == "" || o.Effect == nil) {
		return "needs --parameters and --parameters-env: a configuration of the driver, and how a container shows it"
	}
	return ""
}

// Where rules come from.
const (
	helper    = "k8s.io/dynamic-resource-allocation/kubeletplugin, "
	e2eNode   = "kubernetes test/e2e_node/dra_test.go, "
	e2e       = "kubernetes test/e2e/dra/dra.go, "
	manager   = "kubernetes pkg/kubelet/cm/dra/manager.go, "
	plugins   = "kubernetes pkg/kubelet/pluginmanager, "
	apiTypes  = "k8s.io/api/resource/v1, "
	prepares  = helper + "DRAPlugin.PrepareResourceClaims: "
	unprepare = helper + "DRAPlugin.UnprepareResourceClaims: "
)

// Cases returns all cases for the node, in the order in which they should run. The node may be nil where they are only
// listed.
func Cases(n *node.Node, options Options) []suite.Case {
	s := &subject{Node: n, options: options}
	return slices.Concat(s.registration(), s.preparing(), s.unpreparing(), s.claims(), s.parameters(), s.sharing(),
		s.dividing(), s.cdi(), s.restarts(), s.instances(), s.slices(), s.health(), s.endings())
}

// subject is what the cases are about.
type subject struct {
	*node.Node
	options Options
}

// plugin is the instance that a kubelet would call now.
func (s *subject) plugin(t *suite.T) *kubelet.Plugin { return s.Registered(t) }

// slow is for what may take a driver on the helper library half a minute.
const slow = 3 * time.Minute
