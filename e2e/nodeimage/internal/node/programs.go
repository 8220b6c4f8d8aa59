package node

import (
	"fmt"

	"example.com/dragoman/e2e/nodeimage/internal/versions"
	"example.com/dragoman/pkg/sanity/gobuild"
)

// part is a program of the node and what to tell the person who waits for it.
type part struct {
	program gobuild.Program
	count   int
	cold    string // time on two cores when nothing is cached
}

func (p part) title() string {
	title := fmt.Sprintf("building %s %s", p.program.Name, p.program.Version)
	if p.count > 1 {
		title += fmt.Sprintf(" (%d binaries)", p.count)
	}
	return title
}

// parts lists the programs of a node, the quick ones first so that what is wrong with a host shows early.
func parts(set versions.Set) []part {
	return []part{
		{pause(set), 1, ""},
		{cni(set), 4, ""},
		{gobuild.Etcd(set.Etcd), 1, "about 20 s cold"},
		{containerd(set), 3, "about 50 s cold"},
		{coreDNS(set), 1, "about 50 s cold"},
		{kubernetes(set), 7, "about 7 min cold"},
	}
}

func pause(set versions.Set) gobuild.Program {
	return gobuild.Program{Name: "pause", Version: set.Pause, Main: pauseMain, Binary: "pause"}
}

func cni(set versions.Set) gobuild.Program {
	const module = "github.com/containernetworking/plugins"
	return gobuild.Program{
		Name: "cni", Module: module, Version: set.CNI,
		Packages: []string{
			module + "/plugins/ipam/host-local", module + "/plugins/main/loopback",
			module + "/plugins/main/ptp", module + "/plugins/meta/portmap",
		},
	}
}

func containerd(set versions.Set) gobuild.Program {
	const module = "github.com/containerd/containerd/v2"
	return gobuild.Program{
		Name: "containerd", Module: module, Version: set.Containerd,
		Packages: []string{module + "/cmd/containerd", module + "/cmd/ctr", module + "/cmd/containerd-shim-runc-v2"},
		Tags:     "no_aufs no_zfs no_btrfs no_devmapper", // as kind builds it
		LDFlags:  "-X " + module + "/version.Version=" + set.Containerd,
	}
}

func coreDNS(set versions.Set) gobuild.Program {
	return gobuild.Program{
		Name: "coredns", Module: "github.com/coredns/coredns", Version: set.CoreDNS,
		Main: coreDNSMain, Binary: "coredns",
	}
}

func kubernetes(set versions.Set) gobuild.Program {
	return gobuild.Kubernetes(set.Kubernetes, append(controlPlane(), "kube-proxy", "kubeadm", "kubelet", "kubectl")...)
}

func controlPlane() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}
