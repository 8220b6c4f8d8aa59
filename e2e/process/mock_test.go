package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tell has a process of its own tell the machine of the node something, as "kubectl exec" does in the driver's pod: all
// that it knows is where the driver's configuration is.
func (r *rig) tell(words ...string) string {
	r.t.Helper()
	command := exec.Command(r.binary, append([]string{"mock"}, words...)...)
	command.Env = append(command.Environ(), "DRAGOMAN_CONFIG="+r.path("config.yaml"))
	said, err := command.CombinedOutput()
	if err != nil {
		r.t.Fatalf("dragoman mock %s: %v\n%s", strings.Join(words, " "), err, said)
	}
	return strings.TrimSpace(string(said))
}

// nodeHas waits until the events of the Node are these: "type reason: note".
func (r *rig) nodeHas(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	r.until(fmt.Sprintf("the node has the events %q", want), func(ctx context.Context) error {
		all, err := r.server.client.EventsV1().Events(metav1.NamespaceDefault).List(ctx,
			metav1.ListOptions{FieldSelector: "regarding.kind=Node,regarding.name=" + r.node.Name})
		if err != nil {
			return err
		}
		var got []string
		for _, e := range all.Items {
			got = append(got, e.Type+" "+e.Reason+": "+e.Note)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
}

// TestADeviceThatIsToldToBeSickIsSoForEverybody: for the scheduler, the kubelet, who reads metrics and who looks at the
// Node; for as long as nobody tells it otherwise.
func TestADeviceThatIsToldToBeSickIsSoForEverybody(t *testing.T) {
	t.Parallel()
	for _, effect := range []string{"NoSchedule", "NoExecute"} {
		t.Run(effect, func(t *testing.T) {
			t.Parallel()
			const devices, sick = 8, "gpu-1"
			r := newRig(t)
			policy := []any{"health", map[string]any{"taintEffect": effect}}
			d := r.startReady(policy...)
			before := versions(r.published(devices))
			listen := func() (hear func(status, message string)) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				t.Cleanup(cancel)
				next, err := d.plugin.WatchHealth(ctx, false)
				if err != nil {
					t.Fatal(err)
				}
				return func(status, message string) { t.Helper(); hears(t, next, sick, status, message) }
			}
			hear := listen()
			hear("HEALTHY", "")
			held := r.claim("held", r.devices(sick))
			prepare(t, d, held)

			if said := r.tell("set", sick, "health=unhealthy", "reason="+fellOff); said != sick+" is unhealthy: "+fellOff {
				t.Errorf("it says %q", said)
			}
			hear("UNHEALTHY", fellOff)
			taint := []string{sick + "!" + driverName + "/unhealthy=true:" + effect}
			r.holds(devices, taint)
			r.wrote(devices, before, 1)
			fell := "Warning DeviceUnhealthy: device " + sick + " is unhealthy: " + fellOff
			r.nodeHas(fell)
			all, err := r.metrics(t.Context())
			if err != nil || all[`dragoman_devices{state="unhealthy"}`] != "1" ||
				all[`dragoman_device_unhealthy{device="gpu-1"}`] != "1" {
				t.Errorf("metrics %v, %v", all, err)
			}
			before = versions(r.published(devices))

			d = d.restartKilled(policy...)
			hear = listen()
			hear("UNHEALTHY", fellOff)
			r.holds(devices, taint)
			r.wrote(devices, before, 0)

			r.tell("reset", sick)
			hear("HEALTHY", "")
			r.holds(devices, nil)
			r.wrote(devices, before, 1)
			recovered := "Normal DeviceHealthy: device " + sick + " is healthy again; before: " + fellOff
			// Told once more by the process that found it so when it started.
			r.nodeHas(fell, fell, recovered)
			if all, err := r.metrics(t.Context()); err != nil || all[`dragoman_device_unhealthy{device="gpu-1"}`] != "" {
				t.Errorf("metrics %v, %v", all, err)
			}

			r.tell("remove", "gpu-7")
			r.published(devices - 1)
			r.tell("add", "gpu-7")
			r.published(devices)
			r.nodeHas(fell, fell, recovered, "Normal DeviceAdded: device gpu-7 is there now",
				"Warning DeviceGone: device gpu-7 is gone: the driver does not see it on the node any more")
			unprepare(t, d, held)
			r.nothingLeft(held.UID)
		})
	}
}

func TestAMachineThatWasToldThingsForgetsThemWhenTheNodeReboots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	r.tell("remove", "gpu-0")
	r.tell("set", "gpu-1", "taint=example.com/maintenance=soon:NoExecute")
	r.published(7)
	r.holds(7, []string{"gpu-1!example.com/maintenance=soon:NoExecute"})
	d.kill()
	file := r.path("state", driverName, "backend", "_controls", "controls.json")
	told, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	earlier := regexp.MustCompile(`"boot": "[^"]+"`).ReplaceAll(told, []byte(`"boot": "an-earlier-one"`))
	if err := errors.Join(r.otherBoot(), os.WriteFile(file, earlier, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.watch()
	r.startReady()
	r.published(8)
	r.holds(8, nil)
}
