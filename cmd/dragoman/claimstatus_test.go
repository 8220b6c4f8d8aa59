package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
)

// applyStatus takes what is applied to the status of a claim for all of it.
func (s *apiServer) applyStatus(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var applied resourceapi.ResourceClaim
	if err != nil || json.Unmarshal(raw, &applied) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.claims[r.PathValue("namespace")+"/"+r.PathValue("name")]
	if s.applied++; c != nil {
		c = c.DeepCopy()
		c.Status.Devices = applied.Status.Devices
		s.claims[r.PathValue("namespace")+"/"+r.PathValue("name")] = c
	}
	reply(w, r, c)
}

// shown is what the status of a claim shows, as "device type=status …".
func (s *apiServer) shown(name string) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.claims["team-a/"+name].Status.Devices {
		line := e.Device
		for _, c := range e.Conditions {
			line += " " + c.Type + "=" + string(c.Status)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTheStatusOfAClaimIsWritten(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-3", "gpu-0")
	dir := shortDir(t)
	p := start(t, dir, nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	if _, err := k.PrepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	want := []string{"gpu-3 Ready=True Healthy=True", "gpu-0 Ready=True Healthy=True"}
	eventually(t, "it is shown", func() bool { return slices.Equal(api.shown("train"), want) })
	eventually(t, "it is counted", func() bool {
		_, metrics := p.http("/metrics")
		return strings.Contains(metrics, `dragoman_claim_status_writes_total{result="ok"} 1`+"\n")
	})

	p.signal(syscall.SIGKILL)
	p.wait()
	api.mu.Lock()
	api.claims["team-a/train"].Status.Devices = nil // as if it had died before it wrote
	api.mu.Unlock()
	p = start(t, dir, nil, "--kubeconfig", api.kubeconfig(t))
	eventually(t, "another process shows it", func() bool { return slices.Equal(api.shown("train"), want) })
	if err := register(t, p).UnprepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is shown", func() bool { return len(api.shown("train")) == 0 })
}

func TestTheStatusOfAClaimIsLeftAloneIfAskedTo(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-0")
	p := startWith(t, "deviceStatus: false\n", shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	if _, err := k.PrepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	if err := k.UnprepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	api.mu.Lock()
	defer api.mu.Unlock()
	if api.applied > 0 {
		t.Errorf("it was written %d times", api.applied)
	}
}

// TestContainersAreToldAboutTheirDevices by one process, and the files are removed by the next.
func TestContainersAreToldAboutTheirDevices(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-3")
	dir := shortDir(t)
	const on = "deviceMetadata: true\n"
	p := startWith(t, on, dir, nil, "--kubeconfig", api.kubeconfig(t))
	got, err := register(t, p).PrepareOne(limit(t), claimed("train"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "gpu.example.com/metadata=uid-of-train_request-0"; !slices.Contains(got.IDs(), want) {
		t.Errorf("CDI devices %q, without %s", got.IDs(), want)
	}
	const file = "/kubelet/plugins/gpu.example.com/dra-device-metadata/team-a_train/request-0/metadata.json"
	text, err := os.ReadFile(dir + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"metadata.resource.k8s.io/v1beta1"`, `"gpu-3"`, `"model"`, `"uuid"`, `"driverVersion"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	p = startWith(t, on, dir, nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	if again, err := os.ReadFile(dir + file); err != nil || string(again) != string(text) {
		t.Errorf("after a restart it is %q, %v", again, err)
	}
	if err := k.UnprepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(dir + "/cdi/*")
	more, _ := filepath.Glob(dir + "/kubelet/plugins/gpu.example.com/dra-device-metadata/*")
	if left = append(left, more...); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
}
