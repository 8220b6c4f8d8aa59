package main

import (
	"errors"
	"strings"
	"testing"

	"example.com/dragoman/pkg/device"
)

func TestDoctorSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	dir := shortDir(t)
	code, got, problems := invoke(t, nil, "doctor", "--kubelet-dir", dir, "--cdi-dir", dir, "--state-dir", dir,
		"--kubeconfig", newAPIServer(t).kubeconfig(t))
	if code != exitError || !strings.Contains(problems, errBadNode.Error()) {
		t.Errorf("exit code %d, %q", code, problems)
	}
	for _, want := range []string{
		"bad      kubelet directories  the kubelet looks for plugins in plugins_registry",
		"\n                              → run this on the node, with the kubelet running, as root; set --kubelet-dir",
		"\nok       CDI directory        " + dir + " can be written\n",
		"\nok       devices              8 devices on this node\n",
	} {
		if !strings.Contains("\n"+got, want) {
			t.Errorf("got\n%s\nwant %q", got, want)
		}
	}
}

func TestDoctorFindsNothingWrong(t *testing.T) {
	var text strings.Builder
	doubt := device.Finding{Subject: "NVML", Verdict: device.Doubtful, Detail: "old", Mend: "upgrade"}
	fine := device.Finding{Subject: "a", Verdict: device.Good, Detail: "is there"}
	if err := writeFindings(&text, []device.Finding{fine, doubt}); err != nil {
		t.Error(err)
	}
	bad := device.Finding{Subject: "b", Verdict: device.Bad, Detail: "missing"}
	if err := writeFindings(&text, []device.Finding{bad, doubt}); !errors.Is(err, errBadNode) {
		t.Errorf("a bad finding gave %v", err)
	}
}
