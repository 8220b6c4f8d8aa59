package driver_test

import (
	"context"
	"errors"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	drahealthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drahealthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/inventory"
)

// watchHealth returns what a stream of one version of the API brings, as "name status message".
func watchHealth(t *testing.T, k *kubelet, version string) (next func() []string) {
	t.Helper()
	conn := connect(t, k.endpoint)
	switch version {
	case drahealthv1.DRAResourceHealthService:
		stream, err := drahealthv1.NewDRAResourceHealthClient(conn).NodeWatchResources(limit(t),
			&drahealthv1.NodeWatchResourcesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return func() (all []string) {
			answer, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range answer.GetDevices() {
				all = append(all, d.GetDevice().GetPoolName()+"/"+d.GetDevice().GetDeviceName()+" "+
					d.GetHealth().String()+" "+d.GetMessage())
			}
			return all
		}
	case drahealthv1alpha1.DRAResourceHealthService:
		stream, err := drahealthv1alpha1.NewDRAResourceHealthClient(conn).NodeWatchResources(limit(t),
			&drahealthv1alpha1.NodeWatchResourcesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return func() (all []string) {
			answer, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range answer.GetDevices() {
				all = append(all, d.GetDevice().GetPoolName()+"/"+d.GetDevice().GetDeviceName()+" "+
					d.GetHealth().String()+" "+d.GetMessage())
			}
			return all
		}
	}
	t.Fatalf("no such API: %s", version)
	return nil
}

func TestHealthReachesKubeletsOldAndNew(t *testing.T) {
	healthy := device.Device{Device: resourceapi.Device{Name: "gpu-0"}}
	sick := healthy
	sick.Health = device.Health{Unhealthy: true, Reason: "it fell off the bus (XID 79)"}
	for _, version := range []string{
		drahealthv1.DRAResourceHealthService, drahealthv1alpha1.DRAResourceHealthService,
	} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t)
			devices := &stock{more: make(chan inventory.Update),
				updates: []inventory.Update{{Seen: true, Devices: []device.Device{healthy}}}}
			r.options.Inventory = devices
			_, stop := r.start(t)
			next := watchHealth(t, meet(t, r.registrar()), version)
			expect := func(want string) {
				t.Helper()
				for { // until it was told of the latest
					got := next()
					if len(got) == 1 && got[0] == want {
						return
					}
					t.Logf("told %q", got)
				}
			}
			expect("node-a/gpu-0 HEALTHY ")
			devices.more <- inventory.Update{Seen: true, Devices: []device.Device{sick}}
			expect("node-a/gpu-0 UNHEALTHY it fell off the bus (XID 79)")
			devices.setOutdated(errors.New("the backend does not answer"))
			devices.more <- inventory.Update{Seen: true, Devices: []device.Device{sick}, Err: context.DeadlineExceeded}
			expect("node-a/gpu-0 UNKNOWN not known: the backend does not answer")
			if err := stop(); err != nil { // with the stream open
				t.Errorf("stop: %v", err)
			}
		})
	}
}
