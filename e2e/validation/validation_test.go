// Package validation holds what "kubectl dra validate" says to what real API servers say: of objects that are each
// wrong in one way, and of good ones that were changed at random.
package validation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
	"example.com/dragoman/pkg/view/manifest"
	"example.com/dragoman/pkg/view/validate"
)

// release is an API server and what it is called in the options of validate.
type release struct {
	name, version, gates, runtimeConfig string
	options                             validate.Options
}

// releases are the oldest and the newest that are supported, as they come, and the newest with all that is new.
func releases() []release {
	const old = "resource.k8s.io/v1beta1=true,resource.k8s.io/v1beta2=true"
	on := map[string]bool{}
	var gates []string
	for _, gate := range []string{
		"DRADerivedAttributes", "DRAListTypeAttributes", "DRADeviceCompatibilityGroups", "DRANodeAllocatableResources",
		"DRAPartitionableDevicesType", "DRAOptionalNodeOperations", "DRAFractionalCapacityRange", "DRAResourcePoolStatus",
	} {
		on[gate] = true
		gates = append(gates, gate+"=true")
	}
	return []release{
		{name: "1.34", version: "v1.34.3", runtimeConfig: old, options: validate.Options{Minor: 34}},
		{name: "1.37", version: "v1.37.2", runtimeConfig: old, options: validate.Options{Minor: 37}},
		{
			name: "1.37 with gates", version: "v1.37.2", runtimeConfig: old, gates: strings.Join(gates, ","),
			options: validate.Options{Minor: 37, Gates: on},
		},
	}
}

// server is a running API server with a namespace in which admin access is allowed.
type server struct{ client rest.Interface }

func start(t *testing.T, r release) server {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Minute) // the programs may have to be built
	defer stop()
	programs, err := apiserver.Find(ctx, apiserver.Search{
		Version: r.version, Environment: os.Getenv, Say: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	running, err := apiserver.Start(ctx, apiserver.Options{
		Programs: programs, FeatureGates: r.gates, RuntimeConfig: r.runtimeConfig,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", running.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "labelled", Labels: map[string]string{"resource.kubernetes.io/admin-access": "true"},
	}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}} // some devices must be on one that is there
	node, err = client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.DeclaredFeatures = []string{"DRANodeAllocatableResources"}
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return server{client: client.CoreV1().RESTClient()}
}

// path is where objects of a kind are created.
func path(kind schema.GroupVersionKind) string {
	namespaced := "/namespaces/labelled"
	if kind.Kind == "DeviceClass" || kind.Kind == "ResourceSlice" || kind.Kind == "DeviceTaintRule" {
		namespaced = ""
	}
	plural := strings.ToLower(kind.Kind) + "s"
	if strings.HasSuffix(kind.Kind, "Class") {
		plural = "deviceclasses"
	}
	return fmt.Sprintf("/apis/%s%s/%s", kind.GroupVersion(), namespaced, plural)
}

// accepts asks for a dry run, as strict about names of fields as kubectl is.
func (s server) accepts(t *testing.T, kind schema.GroupVersionKind, raw []byte) (bool, string) {
	t.Helper()
	err := s.client.Post().AbsPath(path(kind)).Param("dryRun", "All").Param("fieldValidation", "Strict").
		SetHeader("Content-Type", "application/json").Body(raw).Do(t.Context()).Error()
	if err == nil {
		return true, ""
	}
	refused := false
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		refused = slices.Contains(
			[]int32{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotFound}, status.Status().Code)
	}
	if !refused {
		t.Fatalf("ask the API server: %v\n%s", err, raw)
	}
	return false, err.Error()
}

// ours is what validate says of the same.
func ours(t *testing.T, raw []byte, o validate.Options) (bool, string) {
	t.Helper()
	results := validate.Documents(manifest.Parse("object.json", raw), o)
	if len(results) != 1 {
		t.Fatalf("%d results for one object: %s", len(results), raw)
	}
	said, err := json.Marshal(results[0].Problems)
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Verdict != validate.Invalid, string(said)
}

// agree compares the verdicts of both.
func (s server) agree(t *testing.T, kind schema.GroupVersionKind, raw []byte, o validate.Options) (accepted bool) {
	t.Helper()
	accepted, theirs := s.accepts(t, kind, raw)
	if mine, said := ours(t, raw, o); mine != accepted {
		t.Errorf("the API server accepts it: %v %s\nvalidate accepts it: %v %s\n%s", accepted, theirs, mine, said, raw)
	}
	return accepted
}

func TestValidateSaysWhatAPIServersSay(t *testing.T) {
	for _, r := range releases() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, r)
			good, bad := 0, 0
			for _, c := range corpus() {
				t.Run(c.kind+" "+c.name, func(t *testing.T) {
					if s.agree(t, c.gvk(), c.object(t), r.options) {
						good++
					} else {
						bad++
					}
				})
			}
			t.Logf("%d objects accepted, %d refused", good, bad)
			if good < 20 || bad < 100 {
				t.Errorf("%d objects accepted and %d refused show little", good, bad)
			}
		})
	}
}

func TestValidateSaysWhatAPIServersSayOfWhatNobodyThoughtOf(t *testing.T) {
	const rounds = 1500
	for _, r := range releases() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, r)
			good, bad := 0, 0
			for seed := range uint64(rounds) {
				c, raw := mutated(t, seed)
				if s.agree(t, c.gvk(), raw, r.options) {
					good++
				} else {
					bad++
				}
				if t.Failed() {
					t.Logf("seed %d: %s %s", seed, c.kind, c.name)
				}
			}
			t.Logf("%d objects accepted, %d refused", good, bad)
		})
	}
}
