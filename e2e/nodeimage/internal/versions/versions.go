// Package versions holds the one table of what goes into a node image, so that a Kubernetes version names everything.
package versions

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"example.com/dragoman/pkg/sanity/gobuild"
)

// Default is the Kubernetes version of a run that names none.
const Default = "v1.34.3"

// Set is what a node image of one Kubernetes version is made of. Sets are used whole: these versions ran together.
type Set struct {
	Kubernetes string
	Kind       string
	Etcd       string // as gobuild pairs them
	CoreDNS    string
	Pause      string // a tag only: the program is our own
	Containerd string
	CNI        string
	Debian     string // suite of the node's operating system
}

func table() map[string]Set {
	return map[string]Set{
		"v1.34.3": {
			Kind: "v0.33.0", CoreDNS: "v1.12.1", Pause: "3.10.1",
			Containerd: "v2.1.4", CNI: "v1.7.1", Debian: "bookworm",
		},
		"v1.37.2": {
			Kind: "v0.33.0", CoreDNS: "v1.14.6", Pause: "3.10.2",
			Containerd: "v2.3.4", CNI: "v1.9.1", Debian: "bookworm",
		},
	}
}

// Lookup finds the set of a Kubernetes version; the error of one that is not pinned lists those that are.
func Lookup(kubernetes string) (Set, error) {
	sets := table()
	set, ok := sets[kubernetes]
	if !ok {
		return Set{}, fmt.Errorf("kubernetes version %q is not pinned here; pinned: %s",
			kubernetes, strings.Join(slices.Sorted(maps.Keys(sets)), ", "))
	}
	set.Kubernetes = kubernetes
	var err error
	set.Etcd, err = gobuild.EtcdFor(kubernetes)
	return set, err
}

// Minor is the 34 of v1.34.3.
func (s Set) Minor() int {
	parts := strings.Split(s.Kubernetes, ".")
	if len(parts) < 2 {
		return 0
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0
	}
	return minor
}

// SystemImages lists the images that kubeadm of this version expects on a node, sorted.
func (s Set) SystemImages() []string {
	const registry = "registry.k8s.io/"
	return []string{
		registry + "coredns/coredns:" + s.CoreDNS,
		registry + "etcd:" + strings.TrimPrefix(s.Etcd, "v") + "-0",
		registry + "kube-apiserver:" + s.Kubernetes,
		registry + "kube-controller-manager:" + s.Kubernetes,
		registry + "kube-proxy:" + s.Kubernetes,
		registry + "kube-scheduler:" + s.Kubernetes,
		s.PauseImage(),
	}
}

// PauseImage is the sandbox image's name.
func (s Set) PauseImage() string { return "registry.k8s.io/pause:" + s.Pause }

// Key names a result that depends on this set and on everything in parts (recipe texts, architecture).
func (s Set) Key(parts ...string) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q", s, parts)
	return hex.EncodeToString(h.Sum(nil)[:6])
}
