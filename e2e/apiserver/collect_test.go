package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/api/resource/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

// looked is a cluster to look at: a driver's slice on a node, a taint rule, and in the namespaces team-a and team-b a
// template, a claim and a pod that has it, which wait; and an event about the pod.
type looked struct {
	*apiserver.Server
	admin *kubernetes.Clientset
}

func newLooked(t *testing.T, version string) looked {
	t.Helper()
	var server *apiserver.Server
	if version == apiserver.DefaultVersion {
		server = startVersion(t, version, "DRADeviceTaints=true", "--runtime-config=resource.k8s.io/v1alpha3=true")
	} else {
		server = startVersion(t, version, "")
	}
	l := looked{server, clientOf(t, server.Kubeconfig)}
	made := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, create := t.Context(), metav1.CreateOptions{}
	made(l.admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}, create))
	made(l.admin.ResourceV1().ResourceSlices().Create(ctx, slice(), create))
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}
	made(l.admin.ResourceV1().DeviceClasses().Create(ctx, class, create))
	l.taint(t, version)
	for _, team := range []string{"team-a", "team-b"} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}}
		made(l.admin.CoreV1().Namespaces().Create(ctx, namespace, create))
		made(l.admin.ResourceV1().ResourceClaims(team).Create(ctx, waitingClaim("claim"), create))
		made(l.admin.ResourceV1().ResourceClaimTemplates(team).Create(ctx, &resourceapi.ResourceClaimTemplate{
			ObjectMeta: metav1.ObjectMeta{Name: "template"},
			Spec:       resourceapi.ResourceClaimTemplateSpec{Spec: waitingClaim("").Spec},
		}, create))
		made(l.admin.CoreV1().Pods(team).Create(ctx, waitingPod("pod", "claim"), create))
		made(l.admin.CoreV1().Pods(team).Create(ctx, waitingPod("without-devices"), create))
		made(l.admin.CoreV1().Events(team).Create(ctx, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: "event"},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: team, Name: "pod"},
			Reason:         "FailedScheduling", LastTimestamp: metav1.Now(),
		}, create))
	}
	return l
}

func (l looked) taint(t *testing.T, version string) {
	t.Helper()
	driver, meta := "driver.example.com", metav1.ObjectMeta{Name: "drain"}
	var err error
	if version == apiserver.DefaultVersion {
		_, err = l.admin.ResourceV1alpha3().DeviceTaintRules().Create(t.Context(), &v1alpha3.DeviceTaintRule{
			ObjectMeta: meta, Spec: v1alpha3.DeviceTaintRuleSpec{
				DeviceSelector: &v1alpha3.DeviceTaintSelector{Driver: &driver},
				Taint:          v1alpha3.DeviceTaint{Key: "drain", Effect: v1alpha3.DeviceTaintEffectNoSchedule},
			},
		}, metav1.CreateOptions{})
	} else {
		_, err = l.admin.ResourceV1().DeviceTaintRules().Create(t.Context(), &resourceapi.DeviceTaintRule{
			ObjectMeta: meta, Spec: resourceapi.DeviceTaintRuleSpec{
				DeviceSelector: &resourceapi.DeviceTaintSelector{Driver: &driver},
				Taint:          resourceapi.DeviceTaint{Key: "drain", Effect: resourceapi.DeviceTaintEffectNoSchedule},
			},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func waitingClaim(name string) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{
			{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "gpu"}},
		}}},
	}
}

// waitingPod has the claims, which have names of a cluster.
func waitingPod(name string, claims ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "registry.example.com/image", Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
		}}},
	}
	for _, c := range claims {
		pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: c, ResourceClaimName: &c})
	}
	return pod
}

// as returns the configuration of a user with rights: each is "verb,verb resource,resource" in a namespace, or in all.
func (l looked) as(t *testing.T, user string, rights map[string]string) *rest.Config {
	t.Helper()
	subject := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: user, APIGroup: rbacv1.GroupName}}
	meta := metav1.ObjectMeta{Name: user}
	for namespace, right := range rights {
		verbs, resources, _ := strings.Cut(right, " ")
		rules := []rbacv1.PolicyRule{{
			APIGroups: []string{"", resourceapi.GroupName}, Verbs: strings.Split(verbs, ","),
			Resources: strings.Split(resources, ","),
		}}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user}
		ctx, create := t.Context(), metav1.CreateOptions{}
		var role, binding error
		if namespace == "" {
			ref.Kind = "ClusterRole"
			_, role = l.admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, create)
			_, binding = l.admin.RbacV1().ClusterRoleBindings().Create(ctx,
				&rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subject, RoleRef: ref}, create)
		} else {
			_, role = l.admin.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, create)
			_, binding = l.admin.RbacV1().RoleBindings(namespace).Create(ctx,
				&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subject, RoleRef: ref}, create)
		}
		if err := errors.Join(role, binding); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig, err := l.KubeconfigAs(user)
	if err != nil {
		t.Fatal(err)
	}
	return configOf(t, kubeconfig)
}

func configOf(t *testing.T, kubeconfig string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func collectorOf(t *testing.T, config *rest.Config) *collect.Collector {
	t.Helper()
	c, err := collect.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seen is a cluster in words.
func seen(c *view.Cluster) string {
	var words []string
	add := func(kind string, names []string) {
		if len(names) > 0 {
			words = append(words, kind+": "+strings.Join(names, " "))
		}
	}
	add("nodes", namesOf(c.Nodes))
	add("namespaces", slices.DeleteFunc(namesOf(c.Namespaces), func(name string) bool {
		return !strings.HasPrefix(name, "team")
	}))
	add("slices", namesOf(c.Slices))
	add("classes", namesOf(c.Classes))
	add("claims", namesOf(c.Claims))
	add("templates", namesOf(c.Templates))
	add("pods", namesOf(c.Pods))
	add("rules", namesOf(c.TaintRules))
	add("events", namesOf(c.Events))
	for _, u := range c.Unseen {
		words = append(words, fmt.Sprintf("not %s %q (%s) only %q", u.Resource, u.Namespace, u.Right, u.Only))
	}
	return strings.Join(words, "\n")
}

func namesOf[T metav1.Object](objects []T) (names []string) {
	for _, o := range objects {
		names = append(names, strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	}
	return names
}

func TestACollectorSeesWhatTheUserMaySee(t *testing.T) {
	for _, version := range []string{apiserver.DefaultVersion, newestVersion} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newLooked(t, version)
			want := collect.Want{
				Fallback: "team-a", Nodes: true, Namespaces: true, Claims: true, Templates: true, TaintRules: true, Pods: true,
				EventsFor: []collect.Ref{{Kind: "Pod", Namespace: "team-a", Name: "pod"}},
			}
			const all = "get,list "
			for name, test := range map[string]struct {
				config *rest.Config
				sees   string
			}{
				"an administrator sees everything": {configOf(t, l.Kubeconfig), `nodes: node
namespaces: team-a team-b
slices: slice
classes: gpu
claims: team-a/claim team-b/claim
templates: team-a/template team-b/template
pods: team-a/pod team-b/pod
rules: drain
events: team-a/event`},
				"a user of a namespace sees what is there": {l.as(t, "alice", map[string]string{
					"team-a": all + "resourceclaims,resourceclaimtemplates,pods,events,namespaces",
				}), `namespaces: team-a
claims: team-a/claim
templates: team-a/template
pods: team-a/pod
events: team-a/event
not deviceclasses "" (list deviceclasses.resource.k8s.io) only ""
not devicetaintrules "" (list devicetaintrules.resource.k8s.io) only ""
not namespaces "" (list namespaces) only "team-a"
not nodes "" (list nodes) only ""
not pods "" (list pods) only "team-a"
not resourceclaims "" (list resourceclaims.resource.k8s.io) only "team-a"
not resourceclaimtemplates "" (list resourceclaimtemplates.resource.k8s.io) only "team-a"
not resourceslices "" (list resourceslices.resource.k8s.io) only ""`},
				"who may see devices only sees them": {l.as(t, "bob", map[string]string{
					"": all + "resourceslices,deviceclasses,devicetaintrules,resourceclaims",
				}), `slices: slice
classes: gpu
claims: team-a/claim team-b/claim
rules: drain
not events "team-a" (list events) only ""
not namespaces "" (list namespaces) only ""
not nodes "" (list nodes) only ""
not pods "" (list pods) only ""
not resourceclaimtemplates "" (list resourceclaimtemplates.resource.k8s.io) only ""`},
			} {
				t.Run(name, func(t *testing.T) {
					cluster, err := collectorOf(t, test.config).Look(t.Context(), want)
					if err != nil {
						t.Fatal(err)
					}
					if got := seen(cluster); got != test.sees {
						t.Errorf("seen is\n%s\n\nand not\n%s", got, test.sees)
					}
					if cluster.Version != version {
						t.Errorf("the server is %s, and not %s", cluster.Version, version)
					}
				})
			}
			nobody := collectorOf(t, l.as(t, "nobody", nil))
			if _, err := nobody.Look(t.Context(), want); err == nil || !strings.Contains(err.Error(), "may see nothing") {
				t.Errorf("who may see nothing gets %v", err)
			}
			followChanges(t, l)
		})
	}
}

// followChanges watches as the administrator, and as somebody who may list and not watch.
func followChanges(t *testing.T, l looked) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told := make(chan *view.Cluster, 100)
	done := make(chan error, 1)
	want := collect.Want{Claims: true, TaintRules: true}
	go func() {
		done <- collectorOf(t, configOf(t, l.Kubeconfig)).Watch(ctx, want, func(c *view.Cluster) { told <- c })
	}()
	await(t, "what there is", told, func(c *view.Cluster) bool {
		return seen(c) == "slices: slice\nclasses: gpu\nclaims: team-a/claim team-b/claim\nrules: drain"
	})
	another := waitingClaim("another")
	_, err := l.admin.ResourceV1().ResourceClaims("team-a").Create(t.Context(), another, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.admin.ResourceV1().ResourceSlices().Delete(t.Context(), "slice", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "a new claim and no slice", told, func(c *view.Cluster) bool {
		return seen(c) == "classes: gpu\nclaims: team-a/another team-a/claim team-b/claim\nrules: drain"
	})
	stop()
	if err := <-done; err != nil {
		t.Errorf("a watch that was ended says %v", err)
	}

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	listener := l.as(t, "carol", map[string]string{
		"": "list resourceslices,deviceclasses,devicetaintrules,resourceclaims",
	})
	go func() { done <- collectorOf(t, listener).Watch(ctx, want, func(c *view.Cluster) { told <- c }) }()
	await(t, "that watching is forbidden", told, func(c *view.Cluster) bool {
		return len(c.Claims) == 3 && len(c.Unseen) == 4 && c.Unseen[0].Right == "watch deviceclasses.resource.k8s.io"
	})
	stop()
	if err := <-done; err != nil {
		t.Errorf("a watch that may only list says %v", err)
	}
}

func await(t *testing.T, what string, told <-chan *view.Cluster, ok func(*view.Cluster) bool) {
	t.Helper()
	var last *view.Cluster
	for patience := time.After(time.Minute); ; {
		select {
		case last = <-told:
			if ok(last) {
				return
			}
		case <-patience:
			t.Fatalf("%s: that is not told; at last:\n%s", what, seen(last))
		}
	}
}

func TestACollectorTellsOfAClusterThatIsTooOld(t *testing.T) {
	server := startVersion(t, apiserver.DefaultVersion, "",
		"--runtime-config=resource.k8s.io/v1=false,resource.k8s.io/v1beta1=true,resource.k8s.io/v1beta2=true")
	_, err := collectorOf(t, configOf(t, server.Kubeconfig)).Look(t.Context(), collect.Want{Claims: true})
	var old *collect.TooOldError
	if !errors.As(err, &old) || !slices.Equal(old.Serves, []string{"v1beta1", "v1beta2"}) {
		t.Errorf("it says %v", err)
	}
}
