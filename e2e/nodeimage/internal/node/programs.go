package node

import (
	"fmt"

	"example.com/dragoman/e2e/nodeimage/internal/gobuild"
	"example.com/dragoman/e2e/nodeimage/internal/versions"
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
		{etcd(set), 1, "about 20 s cold"},
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

func etcd(set versions.Set) gobuild.Program {
	const module = "go.etcd.io/etcd"
	return gobuild.Program{
		Name: "etcd", Module: module + "/server/v3", Version: set.Etcd,
		With:     []string{module + "/api/v3", module + "/client/pkg/v3", module + "/client/v3", module + "/pkg/v3"},
		Packages: []string{module + "/server/v3"}, Binary: "etcd",
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
	const module = "k8s.io/kubernetes"
	p := gobuild.Program{
		Name: "kubernetes", Module: module, Version: set.Kubernetes,
		Tags:    "selinux,notest,grpcnotrace", // as upstream's release builds
		LDFlags: gobuild.KubernetesLDFlags(set.Kubernetes, set.Minor()),
		GoMod: func(upstream []byte) ([]byte, error) {
			return gobuild.KubernetesMod(upstream, set.Kubernetes, set.Staging())
		},
	}
	for _, c := range append(controlPlane(), "kube-proxy", "kubeadm", "kubelet", "kubectl") {
		p.Packages = append(p.Packages, module+"/cmd/"+c)
	}
	return p
}

func controlPlane() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}
