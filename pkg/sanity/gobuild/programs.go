package gobuild

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Etcd is the server of a version of etcd, as the binary "etcd".
func Etcd(version string) Program {
	const module = "go.etcd.io/etcd"
	return Program{
		Name: "etcd", Module: module + "/server/v3", Version: version,
		With:     []string{module + "/api/v3", module + "/client/pkg/v3", module + "/client/v3", module + "/pkg/v3"},
		Packages: []string{module + "/server/v3"}, Binary: "etcd",
	}
}

// Kubernetes is some of the commands of a version of Kubernetes, such as kube-apiserver. Whoever builds others of the
// same version later finds most of the work done.
func Kubernetes(version string, commands ...string) Program {
	const module = "k8s.io/kubernetes"
	p := Program{
		Name: "kubernetes", Module: module, Version: version,
		Tags:    "selinux,notest,grpcnotrace", // as upstream's release builds
		LDFlags: kubernetesLDFlags(version),
		GoMod: func(upstream []byte) ([]byte, error) {
			return kubernetesMod(upstream, version, "v0."+strings.TrimPrefix(version, "v1."))
		},
	}
	for _, c := range commands {
		p.Packages = append(p.Packages, module+"/cmd/"+c)
	}
	return p
}

// EtcdFor is the version of etcd that goes with a version of Kubernetes: those of these pairs ran together.
func EtcdFor(kubernetes string) (string, error) {
	pairs := map[string]string{"v1.34.3": "v3.6.5", "v1.37.2": "v3.7.0"}
	etcd, ok := pairs[kubernetes]
	if !ok {
		return "", fmt.Errorf("kubernetes version %q is not pinned here; pinned: %s",
			kubernetes, strings.Join(slices.Sorted(maps.Keys(pairs)), ", "))
	}
	return etcd, nil
}
