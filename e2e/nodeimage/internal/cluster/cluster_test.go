package cluster

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := yaml.UnmarshalStrict(text, &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return doc
}

func TestConfig(t *testing.T) {
	const head = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
	for name, tc := range map[string]struct {
		user  string
		needs Needs
		want  string
		pods  string
	}{
		"a pulled image on a usual host needs nothing": {
			user: head, needs: Needs{Minor: 34}, want: head,
		},
		"our image brings its own network": {
			user: head + "networking: {apiServerPort: 6443}\n", needs: Needs{OwnNetwork: true, Minor: 34},
			want: head + "networking: {apiServerPort: 6443, disableDefaultCNI: true}\n",
		},
		"pod range of the user": {
			user: head + "networking: {podSubnet: 10.10.0.0/16}\n", needs: Needs{Minor: 34},
			want: head + "networking: {podSubnet: 10.10.0.0/16}\n", pods: "10.10.0.0/16",
		},
		"cgroup v1 is added to the user's patches": {
			user:  head + "featureGates: {A: true}\nkubeadmConfigPatches:\n- 'kind: ClusterConfiguration'\n",
			needs: Needs{CgroupV1: true, Minor: 34},
			want: head + "featureGates: {A: true}\nkubeadmConfigPatches:\n- 'kind: ClusterConfiguration'\n" +
				"- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n",
		},
		"a kubelet without the switch does not get it": {
			user: head, needs: Needs{CgroupV1: true, Minor: 30}, want: head,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ranges, err := Config([]byte(tc.user), tc.needs)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(decode(t, got), decode(t, []byte(tc.want))) {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			want := defaultRanges()
			if tc.pods != "" {
				want.Pods = tc.pods
			}
			if ranges != want {
				t.Errorf("address ranges are %v, want %v", ranges, want)
			}
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	const head = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
	for name, user := range map[string]string{
		"another kind":        "kind: Pod\napiVersion: v1\n",
		"no yaml":             "kind: [",
		"a key twice":         head + "nodes: []\nnodes: []\n",
		"networking a list":   head + "networking: []\n",
		"patches an object":   head + "kubeadmConfigPatches: {a: b}\n",
		"IPv6 with our image": head + "networking: {ipFamily: ipv6}\n",
	} {
		if got, _, err := Config([]byte(user), Needs{OwnNetwork: true, CgroupV1: true, Minor: 34}); err == nil {
			t.Errorf("%s: got\n%s\nwant an error", name, got)
		}
	}
}

func TestDefaultIsTheFileForUsersOfPlainKind(t *testing.T) {
	file, err := os.ReadFile("../../../../deployments/kind/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(decode(t, file), decode(t, []byte(defaultConfig))) {
		t.Errorf("deployments/kind/cluster.yaml is not the default:\n%s", defaultConfig)
	}
}

func TestDecodeNodes(t *testing.T) {
	nodes, err := decodeNodes([]byte(`{"items":[{"metadata":{"name":"a"},"spec":{"podCIDR":"10.244.0.0/24"}}]}`))
	if err != nil || len(nodes) != 1 || nodes[0].name != "a" || nodes[0].podCIDR != "10.244.0.0/24" {
		t.Errorf("got %v, %v", nodes, err)
	}
	if _, err := decodeNodes([]byte(`{"items":[{"metadata":{"name":"a"},"spec":{}}]}`)); err == nil {
		t.Error("a node without pod addresses is not ready to be connected")
	}
}

func TestConnectScript(t *testing.T) {
	nodes := []podNode{
		{"cp", "10.244.0.0/24", "172.30.0.2"},
		{"w1", "10.244.1.0/24", "172.30.0.3"},
		{"w2", "10.244.2.0/24", "172.30.0.4"},
	}
	script := connectScript(nodes[1], nodes, defaultRanges())
	for _, want := range []string{
		"ip route replace 10.244.0.0/24 via 172.30.0.2\n", "ip route replace 10.244.2.0/24 via 172.30.0.4\n",
		"-C POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
		"-A FORWARD -d 10.96.0.0/16 -j REJECT",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("%q is not in\n%s", want, script)
		}
	}
	if strings.Contains(script, "via 172.30.0.3") {
		t.Errorf("a node has a route to itself:\n%s", script)
	}
	if !strings.HasSuffix(script, "mv /etc/cni/net.d/.new /etc/cni/net.d/10-pods.conflist") {
		t.Errorf("the network configuration must come last, and whole:\n%s", script)
	}
}

func TestConflist(t *testing.T) {
	text, err := conflist("10.244.1.0/24")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		CNIVersion, Name string
		Plugins          []struct {
			Type   string
			IPMasq *bool
			IPAM   struct {
				Type   string
				Ranges [][]struct{ Subnet string }
			}
			Capabilities map[string]bool
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Plugins) != 2 || list.Plugins[0].Type != "ptp" || !list.Plugins[1].Capabilities["portMappings"] {
		t.Fatalf("got %s", text)
	}
	ptp := list.Plugins[0]
	if ptp.IPMasq == nil || *ptp.IPMasq || ptp.IPAM.Ranges[0][0].Subnet != "10.244.1.0/24" {
		t.Errorf("got %s", text)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	c := Cluster{Name: "x", Dir: t.TempDir() + "/x"}
	if _, err := c.Record(); !os.IsNotExist(err) {
		t.Errorf("a cluster nobody asked for: got %v", err)
	}
	live := Live{c, Record{Kubernetes: "v1.34.3", Image: "a:b", OwnNetwork: true, DockerHost: "unix:///s"}}
	if err := live.remember([]byte(defaultConfig)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Record(); err != nil || got != live.Record {
		t.Errorf("got %+v, %v; want %+v", got, err, live.Record)
	}
}
