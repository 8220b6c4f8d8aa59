// Package cluster makes and removes kind clusters, and gives those of our own node image their pod network.
package cluster

import (
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Ranges are the networks inside a cluster.
type Ranges struct{ Pods, Services string }

// defaultRanges are kind's own.
func defaultRanges() Ranges { return Ranges{Pods: "10.244.0.0/16", Services: "10.96.0.0/16"} }

// defaultConfig is a cluster of one control plane and one worker. deployments/kind/cluster.yaml says the same for
// people who use kind by itself.
const defaultConfig = `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
- role: worker
`

// failCgroupV1 is the kubelet's own switch; it refuses such hosts by default from 1.35 on, and knows it since 1.31.
const failCgroupV1 = "kind: KubeletConfiguration\nfailCgroupV1: false\n"

// Needs is what the host and the node image demand of a cluster's configuration.
type Needs struct {
	OwnNetwork bool // the image brings no pod network: kind must not look for one
	CgroupV1   bool
	Minor      int // of Kubernetes
}

// Config adds what is needed to a user's kind configuration (empty: the default one). Everything else in it stays.
// It also returns the cluster's address ranges.
func Config(user []byte, n Needs) (config []byte, ranges Ranges, err error) {
	ranges = defaultRanges()
	if len(user) == 0 {
		user = []byte(defaultConfig)
	}
	var doc map[string]any
	if err := yaml.UnmarshalStrict(user, &doc); err != nil {
		return nil, ranges, fmt.Errorf("parse kind config: %w", err)
	}
	if doc["kind"] != "Cluster" || doc["apiVersion"] != "kind.x-k8s.io/v1alpha4" {
		return nil, ranges, fmt.Errorf("parse kind config: want kind Cluster of kind.x-k8s.io/v1alpha4, got %v of %v",
			doc["kind"], doc["apiVersion"])
	}
	network, err := object(doc, "networking")
	if err != nil {
		return nil, ranges, err
	}
	for field, to := range map[string]*string{"podSubnet": &ranges.Pods, "serviceSubnet": &ranges.Services} {
		if s, ok := network[field].(string); ok && s != "" {
			*to = s
		}
	}
	if n.OwnNetwork {
		if f, ok := network["ipFamily"].(string); ok && f != "" && f != "ipv4" {
			return nil, ranges, fmt.Errorf("networking.ipFamily %q: a node image built here has IPv4 only", f)
		}
		network["disableDefaultCNI"] = true
		doc["networking"] = network
	}
	if n.CgroupV1 && n.Minor >= 31 {
		patches, ok := doc["kubeadmConfigPatches"].([]any)
		if !ok && doc["kubeadmConfigPatches"] != nil {
			return nil, ranges, errors.New("kubeadmConfigPatches: want a list")
		}
		doc["kubeadmConfigPatches"] = append(patches, failCgroupV1)
	}
	config, err = yaml.Marshal(doc)
	return config, ranges, err
}

func object(doc map[string]any, field string) (map[string]any, error) {
	v, ok := doc[field]
	if !ok || v == nil {
		return map[string]any{}, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: want an object, got %T", field, v)
	}
	return m, nil
}
