package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// machine is a profile file of two GPUs that can be changed.
type machine string

func newMachine(t *testing.T) machine {
	m := machine(filepath.Join(t.TempDir(), "machine.yaml"))
	m.set(t, "")
	return m
}

// set makes gpu-1 unhealthy for a reason, or healthy if there is none.
func (m machine) set(t *testing.T, reason string) {
	t.Helper()
	text := `{"apiVersion": "dragoman.example.com/v1alpha1", "kind": "MachineProfile", "groups": [{"name": "gpus",
"count": 2, "devices": [{"groupIndex": 1, "health": {}}]}]}`
	if reason != "" {
		text = strings.Replace(text, "{}", fmt.Sprintf(`{"unhealthy": true, "reason": %q}`, reason), 1)
	}
	if err := os.WriteFile(string(m)+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(string(m)+".new", string(m)); err != nil {
		t.Fatal(err)
	}
}

// kubernetes137 keeps all fields, and wants counter sets and devices apart.
func kubernetes137(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
	if slice.Spec.SharedCounters == nil || slice.Spec.Devices == nil {
		return nil
	}
	return apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceSlice").GroupKind(), slice.Name,
		field.ErrorList{field.Invalid(field.NewPath("spec"), "", "only one of `sharedCounters` or `devices` is allowed")})
}

// kubernetes134 drops taints and counters, as long as nobody turns their gates on.
func kubernetes134(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
	slice.Spec.SharedCounters = nil
	for i := range slice.Spec.Devices {
		slice.Spec.Devices[i].Taints, slice.Spec.Devices[i].ConsumesCounters = nil, nil
	}
	return nil
}

// outline is what the API server holds of each device: "name" or "name!taint=value:effect".
func (s *apiServer) outline() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var words []string
	for _, slice := range s.slices {
		for _, d := range slice.Spec.Devices {
			word := d.Name
			for _, taint := range d.Taints {
				word += "!" + taint.Key + "=" + taint.Value + ":" + string(taint.Effect)
			}
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

func (s *apiServer) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.writes, " ")
}

func (p *runningProcess) becomesReady() {
	p.t.Helper()
	eventually(p.t, "ready", func() bool { code, _ := p.http("/readyz"); return code == http.StatusOK })
}

// told returns what the kubelet is told about gpu-1, whenever it is told: "status message".
func told(t *testing.T, k *kubelet.Plugin) <-chan string {
	t.Helper()
	next, err := k.WatchHealth(limit(t), false)
	if err != nil {
		t.Fatal(err)
	}
	news := make(chan string, 100)
	go func() {
		for {
			report, err := next()
			if err != nil {
				return
			}
			for _, d := range report {
				if d.Device == "gpu-1" {
					news <- d.Status + " " + d.Message
				}
			}
		}
	}()
	return news
}

// hears waits until the kubelet is told something that begins so.
func hears(t *testing.T, news <-chan string, want string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got := <-news:
			if strings.HasPrefix(got, want) {
				return
			}
		case <-timeout:
			t.Fatalf("the kubelet is not told %q", want)
		}
	}
}

const fellOff = "XID 79: GPU has fallen off the bus"

func TestAnUnhealthyDeviceIsToldToEverybody(t *testing.T) {
	api, m := newAPIServer(t), newMachine(t)
	api.admit = kubernetes137
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t), "--mock-profile", string(m))
	k := register(t, p)
	p.becomesReady()
	news := told(t, k)
	hears(t, news, "HEALTHY ")
	if got := api.outline(); got != "gpu-0 gpu-1" {
		t.Fatalf("published %s", got)
	}

	m.set(t, fellOff)
	hears(t, news, "UNHEALTHY "+fellOff)
	eventually(t, "the taint", func() bool {
		return api.outline() == "gpu-0 gpu-1!gpu.example.com/unhealthy=true:NoSchedule"
	})
	p.becomesReady()
	if _, metrics := p.http("/metrics"); !strings.Contains(metrics, `dragoman_devices{state="unhealthy"} 1`+"\n") {
		t.Error("the metrics do not count it")
	}

	m.set(t, "")
	hears(t, news, "HEALTHY ")
	eventually(t, "no taint", func() bool { return api.outline() == "gpu-0 gpu-1" })
	p.becomesReady()
	if got := api.written(); got != "create update update" {
		t.Errorf("writes: %s; want one for each change", got)
	}
	for _, want := range []string{`"msg":"Warning: a device is unhealthy","v":0,"device":"gpu-1"`,
		`"msg":"A device is healthy again","v":0,"device":"gpu-1"`} {
		p.logs(want, 1)
	}
}

func TestWhereTaintsAreDropped(t *testing.T) {
	for name, test := range map[string]struct{ config, want, writes string }{
		"an unhealthy device is left out": {"", "gpu-0", "create update"},
		"an unhealthy device is kept where that is wanted": {
			"health: {withoutTaints: Keep}\n", "gpu-0 gpu-1", "create"},
	} {
		t.Run(name, func(t *testing.T) {
			api, m := newAPIServer(t), newMachine(t)
			api.admit = kubernetes134
			p := startWith(t, test.config, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t), "--mock-profile", string(m))
			k := register(t, p)
			p.becomesReady()
			news := told(t, k)
			m.set(t, fellOff)
			hears(t, news, "UNHEALTHY "+fellOff)
			eventually(t, "published "+test.want, func() bool { return api.outline() == test.want })
			p.becomesReady()
			if got := api.written(); got != test.writes {
				t.Errorf("writes: %s; want %s", got, test.writes)
			}
			for text, want := range map[string]int{
				"drops some optional fields": 1, `"reason":"dropped_fields"`: 0, "without which the API server drops taints": 1,
			} {
				p.logs(text, want)
			}
		})
	}
}

// TestAProfileThatCannotBeReadMakesHealthUnknown: the slices stay, but nobody vouches for them.
func TestAProfileThatCannotBeReadMakesHealthUnknown(t *testing.T) {
	api, m := newAPIServer(t), newMachine(t)
	api.admit = kubernetes137
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t), "--mock-profile", string(m))
	k := register(t, p)
	p.becomesReady()
	news := told(t, k)
	hears(t, news, "HEALTHY ")
	if err := os.WriteFile(string(m), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	hears(t, news, "UNKNOWN not known: machine profile ")
	code, text := p.http("/readyz")
	if code == http.StatusOK || !strings.Contains(text, "[-] backend looked for devices: ") {
		t.Errorf("/readyz: %d\n%s", code, text)
	}
	if got := api.outline(); got != "gpu-0 gpu-1" {
		t.Errorf("published %s", got)
	}
	m.set(t, "")
	hears(t, news, "HEALTHY ")
	p.becomesReady()
	if got := api.written(); got != "create" {
		t.Errorf("writes: %s", got)
	}
}
