package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"example.com/dragoman/pkg/view"
)

// apiServer answers lists of a cluster, and that it has nothing else.
func apiServer(t *testing.T, c *view.Cluster) string {
	t.Helper()
	const dra = "/apis/resource.k8s.io/v1/"
	listed := map[string]any{
		"/version":                     map[string]string{"gitVersion": "v1.36.1"},
		"/api/v1/nodes":                list("v1", "Node", c.Nodes),
		"/api/v1/pods":                 list("v1", "Pod", c.Pods),
		"/api/v1/events":               list("v1", "Event", c.Events),
		dra + "resourceclaims":         list("resource.k8s.io/v1", "ResourceClaim", c.Claims),
		dra + "resourceclaimtemplates": list("resource.k8s.io/v1", "ResourceClaimTemplate", c.Templates),
		dra + "resourceslices":         list("resource.k8s.io/v1", "ResourceSlice", c.Slices),
		dra + "deviceclasses":          list("resource.k8s.io/v1", "DeviceClass", c.Classes),
		dra + "devicetaintrules":       list("resource.k8s.io/v1", "DeviceTaintRule", c.TaintRules),
		"/api/v1/namespaces":           list("v1", "Namespace", c.Namespaces),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, there := listed[r.URL.Path]
		if !there {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Errorf("answer %s: %v", r.URL.Path, err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func list[O runtime.Object](version, kind string, objects []O) map[string]any {
	copies := []runtime.Object{}
	for _, o := range objects {
		c := o.DeepCopyObject()
		c.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
		copies = append(copies, c)
	}
	return map[string]any{"kind": kind + "List", "apiVersion": version, "items": copies}
}

func TestABundleAnswersAsTheClusterDoes(t *testing.T) {
	for _, name := range []string{"small", "parts", "shares", "network"} {
		t.Run(name, func(t *testing.T) {
			url := apiServer(t, seenCluster(t, name))
			bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
			out, errOut, code := called(t, "gather", "--server", url, "-o", bundle)
			if code != exitYes || out != bundle+"\n" {
				t.Fatalf("gather ends with %d, stdout %q, stderr %q", code, out, errOut)
			}
			if info, err := os.Stat(bundle); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the bundle is %v, error %v, and not for its owner only", info.Mode(), err)
			}
			if files, _ := os.ReadDir(filepath.Dir(bundle)); len(files) != 1 {
				t.Errorf("beside the bundle there are %v", files)
			}
			for _, format := range []string{"wide", "json"} {
				live, _, _ := called(t, "devices", "-o", format, "--server", url)
				sent, _, code := called(t, "devices", "-o", format, "--from", bundle)
				if code != exitYes || live == "" || sent != live {
					t.Errorf("devices of the bundle, ending with %d, are\n%s\nand of the cluster\n%s", code, sent, live)
				}
			}
		})
	}
}

func TestABundleGoesToStdoutAndNothingElseDoes(t *testing.T) {
	bundle, errOut, code := called(t, "gather", "--server", apiServer(t, seenCluster(t, "small")), "-o", "-")
	if code != exitYes {
		t.Fatalf("gather ends with %d: %s", code, errOut)
	}
	documents, with, err := readBundle(strings.NewReader(bundle))
	if err != nil || len(documents) == 0 || with.Version != "v1.36.1" {
		t.Errorf("the bundle has %d documents of %q, error %v", len(documents), with.Version, err)
	}
	if !strings.Contains(errOut, "Not read: feature gates of the API server") {
		t.Errorf("stderr does not say what is missing: %s", errOut)
	}
}

func TestNoBundleIsLeftOfAClusterThatCannotBeSeen(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	dir := t.TempDir()
	old := filepath.Join(dir, "bundle.tar.gz")
	if err := os.WriteFile(old, []byte("an older one"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, code := called(t, "gather", "--server", server.URL, "-o", old)
	if code != exitCannotTell || out != "" || !strings.Contains(errOut, "connection refused") {
		t.Errorf("gather ends with %d, stdout %q, stderr %q", code, out, errOut)
	}
	files, err := os.ReadDir(dir)
	kept, _ := os.ReadFile(old)
	if err != nil || len(files) != 1 || string(kept) != "an older one" {
		t.Errorf("there are %v, %q, error %v", files, kept, err)
	}
}

func TestTheAnswersOfABundleAreThoseOfTheCommands(t *testing.T) {
	cluster := seenCluster(t, "small")
	missing := "no-such-claim"
	cluster.Pods = append(cluster.Pods, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "zz", Name: "waits"},
		Spec:       corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &missing}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	})
	g := &gatherCommand{session: newSession(invocation{name: "kubectl-dra"})}
	answers := g.answers(t.Context(), cluster)
	live, _, _ := called(t, "devices", "--server", apiServer(t, cluster))
	if answers[0].Name != "devices.txt" || answers[0].Text != live || live == "" {
		t.Errorf("%s is\n%s\nand not\n%s", answers[0].Name, answers[0].Text, live)
	}
	last := answers[len(answers)-1]
	if last.Name != "why/zz/waits.txt" || !strings.HasPrefix(last.Text, "Pod zz/waits") ||
		!strings.Contains(last.Text, missing) {
		t.Errorf("the last of %d answers, %s, says\n%s", len(answers), last.Name, last.Text)
	}
}
