package collect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

func look(t *testing.T, s *server, want collect.Want) *view.Cluster {
	t.Helper()
	cluster, err := s.collector(t).Look(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// names are "namespace/name" of objects, in their order.
func names[T metav1.Object](objects []T) (all []string) {
	for _, o := range objects {
		all = append(all, strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	}
	return all
}

func expect(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-wanted +got):\n%s", what, diff)
	}
}

func TestALookAsksOnlyForWhatIsWanted(t *testing.T) {
	s := newServer(t)
	s.lists[path("resourceslices")] = []runtime.Object{slice("b"), slice("a")}
	s.lists[path("resourceclaims")] = []runtime.Object{claim("team", "x")}
	cluster := look(t, s, collect.Want{})
	expect(t, "slices", []string{"a", "b"}, names(cluster.Slices))
	expect(t, "version", "v1.36.1", cluster.Version)
	if s.times(path("resourceclaims")) > 0 || s.times("/api/v1") > 0 || len(cluster.Claims) > 0 {
		t.Errorf("it asked for more than slices and classes: %v", s.asked)
	}
	if len(cluster.Unseen) > 0 {
		t.Errorf("something is unseen: %v", cluster.Unseen)
	}
}

func TestAListComesInPages(t *testing.T) {
	for name, expired := range map[string]int{
		"that all come":                  0,
		"or as a whole when they expire": 1,
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.expires = expired
			for i := range 1201 {
				s.lists[path("resourceclaims")] = append(s.lists[path("resourceclaims")], claim("a", fmt.Sprintf("claim-%04d", i)))
			}
			cluster := look(t, s, collect.Want{Claims: true})
			if len(cluster.Claims) != 1201 || len(slices.Compact(names(cluster.Claims))) != 1201 {
				t.Errorf("there are %d of 1201 claims", len(cluster.Claims))
			}
			if asked := s.times(path("resourceclaims") + "?limit=500"); asked < 1 || expired == 0 && asked != 1 {
				t.Errorf("the first page was asked for %d times: %v", asked, s.asked)
			}
		})
	}
}

func TestWhatNobodyReadsIsDropped(t *testing.T) {
	s := newServer(t)
	s.lists[path("resourceclaims")] = []runtime.Object{claim("a", "x")}
	s.lists["/api/v1/nodes"] = []runtime.Object{&corev1.Node{
		ObjectMeta: meta("", "n"), Spec: corev1.NodeSpec{Unschedulable: true},
		Status: corev1.NodeStatus{Images: make([]corev1.ContainerImage, 9),
			NodeInfo: corev1.NodeSystemInfo{KernelVersion: "6"}},
	}}
	whole := podWithClaim("a", "uses")
	s.lists["/api/v1/pods"] = []runtime.Object{whole}
	cluster := look(t, s, collect.Want{Claims: true, Nodes: true, Pods: true})

	expect(t, "annotations of a claim", map[string]string{"mine": "yes"}, cluster.Claims[0].Annotations)
	if cluster.Claims[0].ManagedFields != nil {
		t.Error("a claim has its managed fields")
	}
	node := cluster.Nodes[0]
	if node.Status.Images != nil || node.Annotations != nil || node.ManagedFields != nil {
		t.Error("a node has its images, annotations or managed fields")
	}
	if !node.Spec.Unschedulable || node.Status.NodeInfo.KernelVersion != "6" {
		t.Error("a node has lost what is read of it")
	}
	pod := cluster.Pods[0]
	if pod.Spec.Containers[0].Env != nil || pod.Spec.Containers[0].Args != nil || pod.Spec.Volumes != nil {
		t.Error("a pod has environment, arguments or volumes")
	}
	whole.Spec.Containers[0].Env, whole.Spec.Containers[0].Args, whole.Spec.Volumes = nil, nil, nil
	expect(t, "the rest of a pod's specification", whole.Spec, pod.Spec)
	expect(t, "the status of a pod", whole.Status, pod.Status)
}

func podWithClaim(namespace, name string) *corev1.Pod {
	claim := "x"
	return &corev1.Pod{
		ObjectMeta: meta(namespace, name),
		Spec: corev1.PodSpec{
			NodeName: "n", SchedulerName: "default-scheduler", NodeSelector: map[string]string{"zone": "a"},
			Tolerations:     []corev1.Toleration{{Key: "gpu"}},
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "quota"}},
			ResourceClaims:  []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}},
			Volumes:         []corev1.Volume{{Name: "v"}},
			Containers: []corev1.Container{{
				Name: "main", Args: []string{"--password=1"}, Env: []corev1.EnvVar{{Name: "A"}},
				Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}},
			}},
		},
		Status: corev1.PodStatus{
			Phase:                 corev1.PodPending,
			Conditions:            []corev1.PodCondition{{Type: corev1.PodScheduled, Message: "cannot allocate all claims"}},
			ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "gpu", ResourceClaimName: &claim}},
			ContainerStatuses:     []corev1.ContainerStatus{{Name: "main", RestartCount: 2}},
		},
	}
}

func TestOnlyPodsThatHaveToDoWithDevicesAreKept(t *testing.T) {
	asking := func(name string, of corev1.ResourceName) *corev1.Pod {
		list := corev1.ResourceList{of: resource.MustParse("1")}
		return &corev1.Pod{ObjectMeta: meta("a", name), Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "main", Resources: corev1.ResourceRequirements{Limits: list, Requests: list}},
		}}}
	}
	initially := asking("in-an-init-container", "vendor.example.com/gpu")
	initially.Spec.InitContainers, initially.Spec.Containers = initially.Spec.Containers, nil
	given := &corev1.Pod{ObjectMeta: meta("a", "was-given"), Status: corev1.PodStatus{
		ExtendedResourceClaimStatus: &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "x"},
	}}
	driver := &corev1.Pod{ObjectMeta: meta("kube-system", "driver"), Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "r", VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/kubelet/plugins_registry/"},
		}},
	}}}
	s := newServer(t)
	s.lists["/api/v1/pods"] = []runtime.Object{
		asking("cpu", "cpu"), asking("storage", "storage.kubernetes.io/x"), asking("none", "kubernetes.io/x"),
		asking("extended", "vendor.example.com/gpu"), asking("implicit", "deviceclass.resource.kubernetes.io/gpu"),
		initially, podWithClaim("a", "claims"), given, driver,
	}
	devices := []string{"a/claims", "a/extended", "a/implicit", "a/in-an-init-container", "a/was-given"}
	expect(t, "pods", devices, names(look(t, s, collect.Want{Pods: true}).Pods))
	expect(t, "pods with drivers", append(devices, "kube-system/driver"),
		names(look(t, s, collect.Want{Pods: true, DriverPods: true}).Pods))
	whole := look(t, s, collect.Want{Pods: true, WholePods: true}).Pods
	expect(t, "whole pods", devices, names(whole))
	expect(t, "volumes of a whole pod", []corev1.Volume{{Name: "v"}}, whole[0].Spec.Volumes)
	drivers := look(t, s, collect.Want{DriverPods: true}).Pods
	expect(t, "drivers", []string{"kube-system/driver"}, names(drivers))
	expect(t, "volumes of a driver", driver.Spec.Volumes, drivers[0].Spec.Volumes)
}

func TestAPodIsWholeWhereThatIsWanted(t *testing.T) {
	s := newServer(t)
	pod := podWithClaim("a", "p")
	s.lists["/api/v1/pods"] = []runtime.Object{pod, podWithClaim("a", "q")}
	s.documents["/api/v1/namespaces/a/pods/p"] = pod
	for name, want := range map[string]struct {
		collect.Want
		pods []string
	}{
		"beside the others": {collect.Want{Pods: true}, []string{"a/p", "a/q"}},
		"alone":             {collect.Want{}, []string{"a/p"}},
	} {
		t.Run(name, func(t *testing.T) {
			want.Whole = []types.NamespacedName{{Namespace: "a", Name: "p"}, {Namespace: "a", Name: "gone"}}
			cluster := look(t, s, want.Want)
			expect(t, "pods", want.pods, names(cluster.Pods))
			expect(t, "its specification", pod.Spec, cluster.Pods[0].Spec)
			if len(cluster.Unseen) > 0 {
				t.Errorf("a pod that does not exist counts as unseen: %v", cluster.Unseen)
			}
		})
	}
}

func TestWhatMayNotBeSeenIsSaid(t *testing.T) {
	s := newServer(t)
	s.lists["/apis/resource.k8s.io/v1/namespaces/team/resourceclaims"] = []runtime.Object{claim("team", "mine")}
	s.refuses[path("resourceclaims")] = forbidden("resourceclaims")
	s.refuses[path("resourceslices")] = forbidden("resourceslices")
	s.refuses["/api/v1/nodes"] = unavailable()
	want := collect.Want{Claims: true, Nodes: true, TaintRules: true, Fallback: "team"}
	cluster := look(t, s, want)
	expect(t, "claims of the user's namespace", []string{"team/mine"}, names(cluster.Claims))
	expect(t, "unseen", []view.Unseen{
		{Resource: "devicetaintrules", NotServed: true, Why: "this API server does not serve devicetaintrules of " +
			"resource.k8s.io in v1, v1beta2, v1alpha3"},
		{Resource: "nodes", Why: unavailable().Error()},
		{Resource: "resourceclaims", Forbidden: true, Right: "list resourceclaims.resource.k8s.io", Only: "team",
			Why: forbidden("resourceclaims").Error()},
		{Resource: "resourceslices", Forbidden: true, Right: "list resourceslices.resource.k8s.io",
			Why: forbidden("resourceslices").Error()},
	}, cluster.Unseen)
}

func TestANamespaceIsSeenByItsNameWhereTheirListIsNot(t *testing.T) {
	s := newServer(t)
	s.refuses["/api/v1/namespaces"] = forbidden("namespaces")
	cluster := look(t, s, collect.Want{Namespaces: true, Fallback: "default", Namespace: "hidden"})
	expect(t, "namespaces", []string{"default"}, names(cluster.Namespaces))
	expect(t, "unseen", []view.Unseen{{Resource: "namespaces", Forbidden: true, Right: "list namespaces", Only: "default",
		Why: forbidden("namespaces").Error()}}, cluster.Unseen)
}

func TestWhoSeesNothingGetsAnError(t *testing.T) {
	const rules = "devicetaintrules"
	for name, kinds := range map[string][]string{
		"where there are taint rules":              {"resourceclaims", "resourceslices", "deviceclasses", rules},
		"where the release has no taint rules yet": {"resourceclaims", "resourceslices", "deviceclasses"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			for resource := range s.lists {
				s.refuses[resource] = forbidden(resource)
			}
			if slices.Contains(kinds, rules) {
				s.documents["/apis/resource.k8s.io/v1beta2"] = serving(rules)
				s.refuses["/apis/resource.k8s.io/v1beta2/"+rules] = forbidden(rules)
			}
			_, err := s.collector(t).Look(t.Context(), collect.Want{Claims: true, TaintRules: true})
			if err == nil || !strings.HasPrefix(err.Error(), "look at the cluster: this user may see nothing that is needed: ") {
				t.Fatalf("it says: %v", err)
			}
			for _, resource := range kinds {
				if !strings.Contains(err.Error(), resource) {
					t.Errorf("it does not say that %s may not be listed: %v", resource, err)
				}
			}
		})
	}
}

func TestAnOlderClusterIsTold(t *testing.T) {
	for name, change := range map[string]func(s *server){
		"to who may see everything": func(*server) {},
		"to who may see nothing": func(s *server) {
			s.refuses[path("resourceslices")] = forbidden("resourceslices")
			s.refuses[path("deviceclasses")] = forbidden("deviceclasses")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			delete(s.lists, path("resourceslices"))
			delete(s.lists, path("deviceclasses"))
			delete(s.documents, "/apis/resource.k8s.io/v1")
			s.documents["/version"] = map[string]string{"gitVersion": "v1.33.4"}
			s.documents["/apis/resource.k8s.io"] = metav1.APIGroup{
				Versions: []metav1.GroupVersionForDiscovery{{Version: "v1beta2"}, {Version: "v1beta1"}},
			}
			change(s)
			_, err := s.collector(t).Look(t.Context(), collect.Want{Nodes: true})
			var old *collect.TooOldError
			if !errors.As(err, &old) {
				t.Fatalf("it is another error: %v", err)
			}
			expect(t, "the error", "this API server (v1.33.4) does not serve resource.k8s.io/v1, which Kubernetes has since "+
				"1.34: it serves only v1beta1, v1beta2", old.Error())
		})
	}
	expect(t, "no version", "this API server does not serve resource.k8s.io/v1, which Kubernetes has since 1.34: "+
		"it serves no version of it", (&collect.TooOldError{}).Error())
}

func TestTaintRulesAreReadInTheVersionThatTheServerHas(t *testing.T) {
	driver := "gpu.example.com"
	for _, version := range []string{"v1", "v1beta2", "v1alpha3"} {
		t.Run(version, func(t *testing.T) {
			rule := rule("drain")
			rule.APIVersion = "resource.k8s.io/" + version
			rule.Spec.DeviceSelector = deviceSelector(driver)
			rule.Spec.Taint.Key, rule.Spec.Taint.Effect = "drain", "NoExecute"
			s := newServer(t)
			s.lists["/apis/resource.k8s.io/"+version+"/devicetaintrules"] = []runtime.Object{rule}
			cluster := look(t, s, collect.Want{TaintRules: true})
			expect(t, "rules", []string{"drain"}, names(cluster.TaintRules))
			expect(t, "its specification", resourceapi.DeviceTaintRuleSpec{
				DeviceSelector: &resourceapi.DeviceTaintSelector{Driver: &driver},
				Taint:          resourceapi.DeviceTaint{Key: "drain", Effect: resourceapi.DeviceTaintEffectNoExecute},
			}, cluster.TaintRules[0].Spec)
			if len(cluster.Unseen) > 0 {
				t.Errorf("something is unseen: %v", cluster.Unseen)
			}
		})
	}
}

func TestARuleThatOnlyOldClustersUnderstandIsLeftOutAndSaid(t *testing.T) {
	s := newServer(t)
	selects := map[string]any{
		"apiVersion": "resource.k8s.io/v1alpha3", "kind": "DeviceTaintRule", "metadata": map[string]any{"name": "old"},
		"spec": map[string]any{"deviceSelector": map[string]any{"deviceClassName": "gpu"}},
	}
	s.lists["/apis/resource.k8s.io/v1alpha3/devicetaintrules"] = []runtime.Object{rule("good"), object(selects)}
	cluster := look(t, s, collect.Want{TaintRules: true})
	expect(t, "rules", []string{"good"}, names(cluster.TaintRules))
	if len(cluster.Unseen) != 1 || !strings.Contains(cluster.Unseen[0].Why, `"old"`) || cluster.Unseen[0].NotServed {
		t.Errorf("unseen is %v", cluster.Unseen)
	}
}

func TestEventsAreInTheOrderOfTheirTime(t *testing.T) {
	at := func(minute int) metav1.Time { return metav1.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	s := newServer(t)
	s.lists["/api/v1/namespaces/a/events"] = []runtime.Object{
		&corev1.Event{ObjectMeta: meta("a", "a"), LastTimestamp: at(3)},
		&corev1.Event{ObjectMeta: meta("a", "b"), EventTime: metav1.MicroTime(at(1))},
		&corev1.Event{ObjectMeta: meta("a", "c"), EventTime: metav1.MicroTime(at(0)),
			Series: &corev1.EventSeries{LastObservedTime: metav1.MicroTime(at(2))}},
	}
	cluster := look(t, s, collect.Want{EventsFor: []collect.Ref{{Kind: "Pod", Namespace: "a", Name: "p"}}})
	expect(t, "events", []string{"a/b", "a/c", "a/a"}, names(cluster.Events))
	events, unseen := s.collector(t).Events(t.Context(), []collect.Ref{{Kind: "Pod", Namespace: "a", Name: "p"}})
	expect(t, "events alone", []string{"a/b", "a/c", "a/a"}, names(events))
	if len(unseen) > 0 {
		t.Errorf("unseen is %v", unseen)
	}
	if s.times("/api/v1/namespaces/a/events?fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Dp") != 2 {
		t.Errorf("it asked for %v", s.asked)
	}
}

func TestAServerThatCannotBeUsedIsAnError(t *testing.T) {
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hangs.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, test := range map[string]struct{ url, says string }{
		"because it does not answer": {hangs.URL, "context deadline exceeded"},
		"because it is not there":    {gone.URL, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := collect.New(&rest.Config{Host: test.url})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer stop()
			if test.url == gone.URL {
				ctx = t.Context()
			}
			cluster, err := c.Look(ctx, collect.Want{Claims: true})
			if err == nil || !strings.Contains(err.Error(), test.says) ||
				!strings.HasPrefix(err.Error(), "look at the cluster: ") {
				t.Errorf("it says %v, with %v", err, cluster)
			}
		})
	}
}

func TestSecretsAreNeverRead(t *testing.T) {
	s := newServer(t)
	s.documents["/api/v1/namespaces/a/secrets/s"] = map[string]string{"data": "x"}
	if _, err := s.collector(t).Read(t.Context(), "/api/v1/namespaces/a/secrets/s", nil); err == nil || len(s.asked) > 0 {
		t.Errorf("a Secret was asked for: %v, %v", err, s.asked)
	}
}

func TestDriversAreSeenInWhicheverNamespaceTheyAre(t *testing.T) {
	driver := podWithClaim("dra", "driver")
	driver.Spec.Volumes = []corev1.Volume{{Name: "r", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/kubelet/plugins_registry"},
	}}}
	unseen := view.Unseen{Resource: "pods", Forbidden: true, Right: "list pods", Only: "team"}
	unseen.Why = forbidden("pods").Error()
	for name, test := range map[string]struct {
		refused bool
		want    collect.Want
		pods    []string
		unseen  []view.Unseen
	}{
		"beside the pods of all": {
			want: collect.Want{Fallback: "team"}, pods: []string{"dra/driver", "other/p", "team/p"},
		},
		"beside those of one": {
			want: collect.Want{Namespace: "team", Fallback: "other"}, pods: []string{"dra/driver", "team/p"},
		},
		"or are said to be unseen beside those of the one": {
			refused: true, want: collect.Want{Namespace: "team", Fallback: "other"}, pods: []string{"team/p"},
			unseen: []view.Unseen{unseen},
		},
		"or beside the user's own": {
			refused: true, want: collect.Want{Fallback: "team"}, pods: []string{"team/p"}, unseen: []view.Unseen{unseen},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			own, other := podWithClaim("team", "p"), podWithClaim("other", "p")
			s.lists["/api/v1/pods"] = []runtime.Object{driver, other, own}
			s.lists["/api/v1/namespaces/team/pods"] = []runtime.Object{own}
			if test.refused {
				s.refuses["/api/v1/pods"] = forbidden("pods")
			}
			test.want.Pods, test.want.DriverPods = true, true
			cluster := look(t, s, test.want)
			expect(t, "pods", test.pods, names(cluster.Pods))
			expect(t, "unseen", test.unseen, cluster.Unseen)
		})
	}
}
