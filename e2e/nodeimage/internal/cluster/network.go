package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// podNode is what a node's pod network depends on.
type podNode struct {
	name, podCIDR, address string
}

// Connect gives every node its pod network: an interface pair for each pod (the ptp plugin), a route to every other
// node's pods, and masquerading towards everything that is no pod. Routes and rules are gone after a node's container
// restarts; doing all of it again does no harm.
func (l Live) Connect(ctx context.Context, log *steps.Log) error {
	nodes, err := l.podNodes(ctx, log)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		list, err := conflist(n.podCIDR)
		if err != nil {
			return err
		}
		cmd := l.Engine().Command(ctx, "docker", "exec", "--interactive", n.name, "sh", "-c",
			connectScript(n, nodes, l.Ranges))
		cmd.Stdin = bytes.NewReader(list)
		if err := log.Run(cmd); err != nil {
			return fmt.Errorf("connect node %s: %w", n.name, err)
		}
	}
	return nil
}

// podNodes waits until every node has joined and has its range of pod addresses. The ranges come a moment after the
// cluster: a network made without them would make every pod fail.
func (l Live) podNodes(ctx context.Context, log *steps.Log) ([]podNode, error) {
	names, err := l.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var nodes []podNode
	err = await(ctx, 2*time.Minute, func() error {
		out, err := log.Output(l.kubectl(ctx, "get", "nodes", "-o", "json", "--request-timeout=10s"))
		if err != nil {
			return err
		}
		nodes, err = decodeNodes(out)
		if err == nil && len(nodes) != len(names) {
			err = fmt.Errorf("%d of %d nodes have joined", len(nodes), len(names))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the nodes' pod address ranges: %w", err)
	}
	for i, n := range nodes {
		if nodes[i].address, err = l.address(ctx, n.name); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// address asks the engine: after a restart it may have changed, which the Node object does not know yet.
func (l Live) address(ctx context.Context, node string) (string, error) {
	out, err := l.Engine().Command(ctx, "docker", "inspect", "--format",
		"{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", node).Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) == 0 {
		return "", fmt.Errorf("find the address of node %s: %w", node, errors.Join(err, errors.New("does it run?")))
	}
	return fields[0], nil
}

func decodeNodes(list []byte) ([]podNode, error) {
	var doc struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ PodCIDR string }
		}
	}
	if err := json.Unmarshal(list, &doc); err != nil {
		return nil, fmt.Errorf("decode node list: %w", err)
	}
	var nodes []podNode
	for _, item := range doc.Items {
		if item.Spec.PodCIDR == "" {
			return nil, fmt.Errorf("node %s has no range of pod addresses yet", item.Metadata.Name)
		}
		nodes = append(nodes, podNode{name: item.Metadata.Name, podCIDR: item.Spec.PodCIDR})
	}
	return nodes, nil
}

// connectScript makes node's routes and rules and takes its network configuration from standard input. That file comes
// last and by renaming: with it the node becomes Ready.
//
// What is still meant for a service address when it leaves the node is a packet that kube-proxy does not know yet. Sent
// on, it would leave the host by the default route, and the pod would wait for an answer for half a minute or get one
// from a stranger; refused, it tries again.
func connectScript(node podNode, all []podNode, r Ranges) string {
	lines := []string{"set -e"}
	for _, rule := range []struct{ table, text string }{
		{"nat", "POSTROUTING -s " + r.Pods + " ! -d " + r.Pods + " -j MASQUERADE"},
		{"filter", "FORWARD -d " + r.Services + " -j REJECT"},
	} {
		iptables := "iptables -w -t " + rule.table
		lines = append(lines, iptables+" -C "+rule.text+" 2>/dev/null || "+iptables+" -A "+rule.text)
	}
	for _, other := range all {
		if other.name != node.name {
			lines = append(lines, "ip route replace "+other.podCIDR+" via "+other.address)
		}
	}
	return strings.Join(append(lines, "mkdir -p /etc/cni/net.d", "cat >/etc/cni/net.d/.new",
		"mv /etc/cni/net.d/.new /etc/cni/net.d/10-pods.conflist"), "\n")
}

// conflist is a node's network configuration. The ptp plugin does not masquerade by itself: one rule for all pods keeps
// their addresses visible from node to node.
func conflist(podCIDR string) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		"cniVersion": "1.0.0", "name": "pods",
		"plugins": []object{
			{
				"type": "ptp", "ipMasq": false, "mtu": 1500,
				"ipam": object{
					"type": "host-local", "dataDir": "/run/cni-ipam",
					"ranges": [][]object{{{"subnet": podCIDR}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}
