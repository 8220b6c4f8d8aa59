package apiserver

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// watching is a program that goes on telling, as somebody sees it at a terminal.
type watching struct {
	command *exec.Cmd
	lines   chan string // closed at the end of stdout
	said    bytes.Buffer
	all     []string
}

// watch starts the program. It is killed when the test ends, if it still runs then.
func (at terminal) watch(t *testing.T, args ...string) *watching {
	t.Helper()
	w := &watching{command: exec.CommandContext(t.Context(), at.program, args...), lines: make(chan string, 1000)}
	w.command.Dir = at.directory
	w.command.Env = append(os.Environ(), "KUBECONFIG="+at.kubeconfig)
	w.command.Stderr = &w.said
	stdout, err := w.command.StdoutPipe()
	if err == nil {
		err = w.command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			w.lines <- lines.Text()
		}
	}()
	return w
}

// until waits for a line that has all of the words, in their order.
func (w *watching) until(t *testing.T, what, words string) {
	t.Helper()
	for patience := time.After(time.Minute); ; {
		select {
		case line, more := <-w.lines:
			if !more {
				t.Fatalf("%s: it ends before it tells of %q; it told of\n%s", what, words, strings.Join(w.all, "\n"))
			}
			w.all = append(w.all, line)
			if inOrder(line, strings.Fields(words)) {
				return
			}
		case <-patience:
			t.Fatalf("%s: waited in vain for a line with %q; there were\n%s", what, words, strings.Join(w.all, "\n"))
		}
	}
}

// inOrder says whether a line has words one after the other, with others between them perhaps.
func inOrder(line string, words []string) bool {
	for word := range strings.FieldsSeq(line) {
		if len(words) > 0 && strings.TrimSuffix(word, ",") == words[0] {
			words = words[1:]
		}
	}
	return len(words) == 0
}

// interrupt does what Ctrl-C does, and returns the exit code and what was printed since the last line that was waited
// for.
func (w *watching) interrupt(t *testing.T) (code int, rest []string) {
	t.Helper()
	if err := w.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for line := range w.lines {
		rest = append(rest, line)
	}
	_ = w.command.Wait() // its exit code is the answer
	return w.command.ProcessState.ExitCode(), rest
}

func TestDevicesAreWatchedAsTheyChange(t *testing.T) {
	program := kubectlDRA(t)
	for _, version := range []string{apiserver.DefaultVersion, newestVersion} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newLooked(t, version)
			at := terminal{program, t.TempDir(), l.Kubeconfig}
			w := at.watch(t, "devices", "--watch")
			gone := at.watch(t, "devices", "--watch", "-o", "json", "--driver", "driver.example.com")

			w.until(t, "the titles", "NODE DRIVER")
			w.until(t, "what there is", "driver.example.com pool device tainted")
			gone.until(t, "what there is as JSON", `"device": "device"`)
			watchedChanges(t, l, w)
			gone.until(t, "as JSON, that it is gone", `"state": "gone"`)
			for name, process := range map[string]*watching{"the table": w, "JSON": gone} {
				code, rest := process.interrupt(t)
				if code != 130 || process.said.Len() > 0 {
					t.Errorf("%s: Ctrl-C gives exit code %d and on stderr %q, and not 130 and silence", name, code, &process.said)
				}
				if name == "the table" && len(rest) > 0 {
					t.Errorf("%s: after the last change it prints %q", name, rest)
				}
			}
		})
	}
}

// watchedChanges are what happens to devices, each of which is told in a line.
func watchedChanges(t *testing.T, l looked, w *watching) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	node := "node"
	second := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "second"},
		Spec: resourceapi.ResourceSliceSpec{
			Driver: "other.example.com", NodeName: &node,
			Pool: resourceapi.ResourcePool{Name: "other", ResourceSliceCount: 1}, Devices: []resourceapi.Device{{Name: "nic-0"}},
		},
	}
	_, err := l.admin.ResourceV1().ResourceSlices().Create(ctx, second, metav1.CreateOptions{})
	must(err)
	w.until(t, "a new slice", "other.example.com other nic-0 free")

	claims := l.admin.ResourceV1().ResourceClaims("team-a")
	claim, err := claims.Get(ctx, "claim", metav1.GetOptions{})
	must(err)
	pod, err := l.admin.CoreV1().Pods("team-a").Get(ctx, "pod", metav1.GetOptions{})
	must(err)
	claim.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
		Results: []resourceapi.DeviceRequestAllocationResult{
			{Request: "gpu", Driver: "other.example.com", Pool: "other", Device: "nic-0"},
		},
	}}
	claim.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{
		{Resource: "pods", Name: pod.Name, UID: pod.UID},
	}
	if claim, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(t, "an allocated claim", "nic-0 in use team-a/pod")

	claim.Status = resourceapi.ResourceClaimStatus{}
	_, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	must(err)
	w.until(t, "a claim without devices", "nic-0 free")

	must(l.admin.ResourceV1().ResourceSlices().Delete(ctx, "slice", metav1.DeleteOptions{}))
	w.until(t, "a deleted slice", "device gone")
}
