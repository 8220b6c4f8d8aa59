// Package degradation tests with real API servers, old and new, that what dragoman publishes is what they keep: all
// where they have the features, and less, device by device, where they drop fields.
package degradation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/publish"
	"example.com/dragoman/pkg/sanity/apiserver"
)

const (
	driver = "gpu.example.com"
	node   = "node-a"
)

// gates134 are those that Kubernetes 1.34 has off; what depends on them is on by default.
const gates134 = "DRADeviceTaints=true,DRAPartitionableDevices=true,DRAConsumableCapacity=true," +
	"DRADeviceBindingConditions=true"

// cluster is an API server and what of a node it keeps.
type cluster struct {
	version, gates string
	want           publish.Features
	missing        string   // feature gates
	published      []string // of machine, with the marks of [outline]
	warnings       []string // the gates that they name
}

func clusters() map[string]cluster {
	newest := publish.Features{Taints: true, NoneTaints: true, Counters: publish.CountersApart, Shares: true,
		BindingConditions: true}
	without := func(drop func(*publish.Features)) publish.Features {
		f := newest
		drop(&f)
		return f
	}
	return map[string]cluster{
		"1.34": {"v1.34.3", "", publish.Features{Counters: publish.CountersDropped},
			"DRAConsumableCapacity DRADeviceBindingConditions DRADeviceTaints DRAPartitionableDevices",
			[]string{"noted", "plain", "share", "whole"},
			[]string{"DRAPartitionableDevices", "DRADeviceBindingConditions", "DRAConsumableCapacity", "DRADeviceTaints"}},
		"1.34 with its gates": {"v1.34.3", gates134,
			without(func(f *publish.Features) { f.NoneTaints, f.Counters = false, publish.CountersBeside }), "",
			[]string{"fabric bound", "noted", "part counted", "plain", "share shared", "sick tainted", "tainted tainted",
				"whole counted"},
			[]string{"Kubernetes 1.35"}},
		"1.34 with shares alone": {"v1.34.3", "DRAConsumableCapacity=true",
			publish.Features{Counters: publish.CountersDropped, Shares: true},
			"DRADeviceBindingConditions DRADeviceTaints DRAPartitionableDevices",
			[]string{"noted", "plain", "share shared", "whole"},
			[]string{"DRAPartitionableDevices", "DRADeviceBindingConditions", "DRADeviceTaints"}},
		"1.37": {"v1.37.2", "", newest, "",
			[]string{"fabric bound", "noted tainted", "part counted", "plain", "share shared", "sick tainted",
				"tainted tainted", "whole counted"}, nil},
		"1.37 without taints": {"v1.37.2", "DRADeviceTaints=false,DRADeviceTaintRules=false",
			without(func(f *publish.Features) { f.Taints, f.NoneTaints = false, false }), "DRADeviceTaints",
			[]string{"fabric bound", "noted", "part counted", "plain", "share shared", "whole counted"},
			[]string{"DRADeviceTaints"}},
		"1.37 without counters": {"v1.37.2", "DRAPartitionableDevices=false",
			without(func(f *publish.Features) { f.Counters = publish.CountersDropped }), "DRAPartitionableDevices",
			[]string{"fabric bound", "noted tainted", "plain", "share shared", "sick tainted", "tainted tainted", "whole"},
			[]string{"DRAPartitionableDevices"}},
		"1.37 without shares": {"v1.37.2", "DRAConsumableCapacity=false,DRAFractionalCapacityRange=false",
			without(func(f *publish.Features) { f.Shares = false }), "DRAConsumableCapacity",
			[]string{"fabric bound", "noted tainted", "part counted", "plain", "share", "sick tainted", "tainted tainted",
				"whole counted"}, []string{"DRAConsumableCapacity"}},
		"1.37 without binding conditions": {"v1.37.2", "DRADeviceBindingConditions=false",
			without(func(f *publish.Features) { f.BindingConditions = false }), "DRADeviceBindingConditions",
			[]string{"noted tainted", "part counted", "plain", "share shared", "sick tainted", "tainted tainted",
				"whole counted"}, []string{"DRADeviceBindingConditions"}},
	}
}

func TestWhatIsPublishedIsKept(t *testing.T) {
	for name, c := range clusters() {
		t.Run(name, func(t *testing.T) {
			client := start(t, c.version, c.gates)
			features, err := publish.Probe(t.Context(), optionsFor(client), resourceapi.DeviceTaintEffectNoSchedule)
			if err != nil || features != c.want {
				t.Fatalf("it keeps %+v (%v), expected %+v", features, err, c.want)
			}
			if missing := strings.Join(features.Missing(), " "); missing != c.missing {
				t.Errorf("missing are %q, expected %q", missing, c.missing)
			}
			specs, leftOut := inventory.Slices(machine(), driver, node, offer(features))
			p := publishing(t, client)
			p.publish(specs)
			if got := outline(p.stored()); !slices.Equal(got, c.published) {
				t.Errorf("published are\n%q, expected\n%q", got, c.published)
			}
			for _, gate := range c.warnings {
				if n := count(leftOut, gate); n != 1 {
					t.Errorf("%s is in %d warnings: %v", gate, n, leftOut)
				}
			}
			if all := count(leftOut, "DRA") + count(leftOut, "1.35"); all != len(c.warnings) {
				t.Errorf("there are other warnings: %v", leftOut)
			}
			if c.want.Counters != publish.CountersDropped {
				many, leftOut := inventory.Slices(partitionable(64, 16), driver, node, offer(features))
				p.publish(many)
				if n := len(outline(p.stored())); n != 64*17 || len(leftOut) > 0 {
					t.Errorf("%d devices of 64 that can be cut into 16 parts are published; left out: %v", n, leftOut)
				}
			}
		})
	}
}

// TestFieldsThatAreDroppedNameTheirGates offers an API server what it drops, all in one slice.
func TestFieldsThatAreDroppedNameTheirGates(t *testing.T) {
	client := start(t, "v1.34.3", "")
	p := publishing(t, client)
	name, all := node, machine()
	slice := resourceapi.ResourceSliceSpec{Driver: driver, NodeName: &name, SharedCounters: all.SharedCounters,
		Pool: resourceapi.ResourcePool{Name: node, ResourceSliceCount: 1}}
	for _, d := range all.Devices {
		slice.Devices = append(slice.Devices, d.Device)
	}
	p.publisher.Publish([]resourceapi.ResourceSliceSpec{slice})
	p.until("dropped fields are told of", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.events {
			if e.Problem == nil || e.Problem.Reason != publish.DroppedFields {
				continue
			}
			got := strings.Join(e.Problem.Features, " ")
			const want = "DRAConsumableCapacity DRADeviceBindingConditions DRADeviceTaints DRAPartitionableDevices"
			if got != want {
				return fmt.Errorf("gates: %s", got)
			}
			return nil
		}
		return errors.New("no event")
	})
}

// offer is what cmd/dragoman makes of features.
func offer(f publish.Features) inventory.Offer {
	return inventory.Offer{
		Counters: map[publish.Counters]inventory.CounterLayout{
			publish.CountersBeside: inventory.CountersBeside, publish.CountersApart: inventory.CountersApart,
		}[f.Counters],
		Shares: f.Shares, BindingConditions: f.BindingConditions, Taints: f.Taints, NoneTaints: f.NoneTaints,
		TaintEffect: resourceapi.DeviceTaintEffectNoSchedule, LeaveOutUnhealthy: true,
	}
}

func count(leftOut []inventory.LeftOut, text string) (n int) {
	for _, l := range leftOut {
		if strings.Contains(l.String(), text) {
			n++
		}
	}
	return n
}

// outline says of each device which of the optional fields it has.
func outline(stored []resourceapi.ResourceSlice) []string {
	var devices []string
	for _, slice := range stored {
		for _, d := range slice.Spec.Devices {
			words := d.Name
			for mark, is := range map[string]bool{
				" tainted": len(d.Taints) > 0, " counted": len(d.ConsumesCounters) > 0,
				" shared": d.AllowMultipleAllocations != nil && d.Capacity["memory"].RequestPolicy != nil,
				" bound":  d.BindsToNode != nil && len(d.BindingConditions) > 0 && len(d.BindingFailureConditions) > 0,
			} {
				if is {
					words += mark
				}
			}
			devices = append(devices, words)
		}
	}
	slices.Sort(devices)
	return devices
}

// start starts an API server with a node.
func start(t *testing.T, version, gates string) *kubernetes.Clientset {
	t.Helper()
	building, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	programs, err := apiserver.Find(building, apiserver.Search{
		Version: version, Environment: os.Getenv, Say: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	starting, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := apiserver.Start(starting, apiserver.Options{Programs: programs, FeatureGates: gates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Err(), server.Stop()); err != nil {
			t.Error(err)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return client
}

func optionsFor(client kubernetes.Interface) publish.Options {
	return publish.Options{Client: client, DriverName: driver, NodeName: node}
}

// publisher is one that runs, and what it said.
type publisher struct {
	*testing.T
	client    kubernetes.Interface
	publisher *publish.Publisher

	mu     sync.Mutex
	events []publish.Event
}

func publishing(t *testing.T, client kubernetes.Interface) *publisher {
	t.Helper()
	p := &publisher{T: t, client: client}
	options := optionsFor(client)
	options.Observe = func(e publish.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, e)
	}
	p.publisher = publish.New(options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.publisher.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// publish waits until the API server has exactly these slices, all fields included.
func (p *publisher) publish(specs []resourceapi.ResourceSliceSpec) {
	p.Helper()
	p.publisher.Publish(specs)
	p.until("the API server has the slices", p.publisher.Acknowledged)
	stored := p.stored()
	if len(stored) != len(specs) {
		p.Fatalf("%d slices are stored, expected %d", len(stored), len(specs))
	}
	for i, slice := range stored {
		for j := range slice.Spec.Devices {
			for k := range slice.Spec.Devices[j].Taints {
				slice.Spec.Devices[j].Taints[k].TimeAdded = nil // which the API server sets
			}
		}
		if !equality.Semantic.DeepEqual(slice.Spec.Devices, specs[i].Devices) ||
			!equality.Semantic.DeepEqual(slice.Spec.SharedCounters, specs[i].SharedCounters) {
			p.Errorf("slice %d is stored as\n%+v, expected\n%+v", i, slice.Spec, specs[i])
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Problem != nil {
			p.Errorf("there was trouble: %v", e.Problem)
		}
	}
}

// stored returns what the API server has, in order: names begin with the index.
func (p *publisher) stored() []resourceapi.ResourceSlice {
	p.Helper()
	list, err := p.client.ResourceV1().ResourceSlices().List(p.Context(), metav1.ListOptions{})
	if err != nil {
		p.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b resourceapi.ResourceSlice) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

func (p *publisher) until(what string, try func() error) {
	p.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("%s: not within a minute: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
