package allocate_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

func pod(name string, entries ...corev1.PodResourceClaim) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid of " + name)},
		Spec:       corev1.PodSpec{ResourceClaims: entries, Containers: []corev1.Container{{Name: "main"}}},
	}
}

func byName(entry, claim string) corev1.PodResourceClaim {
	return corev1.PodResourceClaim{Name: entry, ResourceClaimName: &claim}
}

func byTemplate(entry, template string) corev1.PodResourceClaim {
	return corev1.PodResourceClaim{Name: entry, ResourceClaimTemplateName: &template}
}

func template(name string, requests ...resourceapi.DeviceRequest) *resourceapi.ResourceClaimTemplate {
	return &resourceapi.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: resourceapi.ResourceClaimTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"from": name}},
			Spec:       asking(name, requests...).Spec,
		},
	}
}

func withClaimMade(p *corev1.Pod, entry string, claim *string) *corev1.Pod {
	p.Status.ResourceClaimStatuses = append(p.Status.ResourceClaimStatuses,
		corev1.PodResourceClaimStatus{Name: entry, ResourceClaimName: claim})
	return p
}

func ownedBy(c *resourceapi.ResourceClaim, kind, name string, uid types.UID) *resourceapi.ResourceClaim {
	c.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, UID: uid, Controller: new(true)}}
	return c
}

func TestAPodHasTheClaimsThatItsStatusAndItsTemplatesSay(t *testing.T) {
	mine := ownedBy(asking("pod-x1", exactly("gpu", 1)), "Pod", "pod", "uid of pod")
	full := held("full", "node-a", "gpu-0")
	for i := range resourceapi.ResourceClaimReservedForMaxSize {
		full.Status.ReservedFor = append(full.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{
			Resource: "pods", Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(i)),
		})
	}
	fullOfMe := full.DeepCopy()
	fullOfMe.Name = "full-of-me"
	fullOfMe.Status.ReservedFor[7] = resourceapi.ResourceClaimConsumerReference{
		Resource: "pods", Name: "pod", UID: "uid of pod",
	}
	leaving := asking("leaving", exactly("gpu", 1))
	leaving.DeletionTimestamp = &metav1.Time{}
	ofGroup := ownedBy(asking("of-group", exactly("gpu", 1)), "PodGroup", "trainers", "uid of trainers")
	grouped := withClaimMade(pod("pod", byTemplate("gpu", "one")), "gpu", new("of-group"))
	grouped.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("trainers")}
	timed := held("timed", "node-a", "gpu-1")
	timed.Status.Allocation.AllocationTimestamp = &metav1.Time{}

	cluster := &view.Cluster{
		Version: "v1.36.1",
		Claims: []*resourceapi.ResourceClaim{
			asking("named", exactly("gpu", 1)), mine, full, fullOfMe, leaving, ofGroup, timed,
			held("untimed", "node-a", "gpu-2"),
			ownedBy(asking("others", exactly("gpu", 1)), "Pod", "other", "uid of other"),
		},
		Templates: []*resourceapi.ResourceClaimTemplate{template("one", exactly("gpu", 1))},
	}
	for title, c := range map[string]struct {
		pod  *corev1.Pod
		want []string // entry=claim, with a star if it would be made
		errs []allocate.Problem
	}{
		"no claims":       {pod("pod"), nil, nil},
		"a claim by name": {pod("pod", byName("gpu", "named")), []string{"gpu=named"}, nil},
		"one to be made":  {pod("pod", byTemplate("gpu", "one")), []string{"gpu=pod-gpu*"}, nil},
		"one that is made": {
			withClaimMade(pod("pod", byTemplate("gpu", "one")), "gpu", new("pod-x1")), []string{"gpu=pod-x1"}, nil,
		},
		"one that turned out not to be needed": {withClaimMade(pod("pod", byTemplate("gpu", "one")), "gpu", nil), nil, nil},
		"one of the pod's group":               {grouped, []string{"gpu=of-group"}, nil},
		"several, in the order of the pod": {
			pod("pod", byTemplate("b", "one"), byName("a", "named")), []string{"b=pod-b*", "a=named"}, nil,
		},
		"a claim that is not there": {pod("pod", byName("gpu", "nobody")), nil, []allocate.Problem{allocate.ClaimMissing}},
		"a template that is not there": {
			pod("pod", byTemplate("gpu", "nobody")), nil, []allocate.Problem{allocate.TemplateMissing},
		},
		"a claim that is going": {
			pod("pod", byName("gpu", "leaving")), nil, []allocate.Problem{allocate.BeingDeleted},
		},
		"a claim made for another pod": {
			withClaimMade(pod("pod", byTemplate("gpu", "one")), "gpu", new("others")), nil,
			[]allocate.Problem{allocate.NotOfPod},
		},
		"a claim with too many users": {
			pod("pod", byName("gpu", "full")), nil, []allocate.Problem{allocate.ReservedFull},
		},
		"a claim with too many users, one me": {pod("pod", byName("gpu", "full-of-me")), []string{"gpu=full-of-me"}, nil},
		"a claim allocated before 1.36": {
			pod("pod", byName("gpu", "untimed")), nil, []allocate.Problem{allocate.NoAllocationTime},
		},
		"a claim allocated since 1.36": {pod("pod", byName("gpu", "timed")), []string{"gpu=timed"}, nil},
		"neither a claim nor a template": {
			pod("pod", corev1.PodResourceClaim{Name: "gpu"}), nil, []allocate.Problem{allocate.NoSource},
		},
		"a claim without devices named twice": {
			pod("pod", byName("a", "named"), byName("b", "named")), []string{"a=named"}, []allocate.Problem{allocate.NamedTwice},
		},
		"a claim with devices named twice": {
			pod("pod", byName("a", "timed"), byName("b", "timed")), []string{"a=timed"}, []allocate.Problem{allocate.NamedTwice},
		},
		"a claim that is mine already named twice": {
			pod("pod", byName("a", "full-of-me"), byName("b", "full-of-me")), []string{"a=full-of-me", "b=full-of-me"}, nil,
		},
		"two problems and a claim without one": {
			pod("pod", byName("a", "nobody"), byName("b", "named"), byTemplate("c", "nobody")), []string{"b=named"},
			[]allocate.Problem{allocate.ClaimMissing, allocate.TemplateMissing},
		},
	} {
		t.Run(title, func(t *testing.T) {
			claims, err := allocate.PodClaims(cluster, c.pod)
			var got []string
			for _, p := range claims {
				star := ""
				if p.Made {
					star = "*"
				}
				got = append(got, p.Entry+"="+p.Claim.Name+star)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("claims: %q, want %q", got, c.want)
			}
			if problems := problemsOf(t, err); !slices.Equal(problems, c.errs) {
				t.Errorf("problems: %q, want %q", problems, c.errs)
			}
		})
	}
}

// problemsOf takes joined errors apart, each of which must have words of its own.
func problemsOf(t *testing.T, err error) []allocate.Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error: %v, want joined ones", err)
	}
	var problems []allocate.Problem
	for _, e := range joined.Unwrap() {
		var problem *allocate.ClaimError
		if !errors.As(e, &problem) {
			t.Fatalf("error: %v, want a *ClaimError", e)
		}
		problems = append(problems, problem.Problem)
		if text := problem.Error(); !strings.Contains(text, problem.Entry) && !strings.Contains(text, problem.Claim) {
			t.Errorf("%q names neither the entry nor the claim", text)
		}
	}
	return problems
}

func TestAClaimToBeMadeIsLikeItsTemplate(t *testing.T) {
	cluster := &view.Cluster{Templates: []*resourceapi.ResourceClaimTemplate{template("one", exactly("gpu", 3))}}
	claims, err := allocate.PodClaims(cluster, pod("pod", byTemplate("gpu", "one")))
	if err != nil || len(claims) != 1 {
		t.Fatalf("%d claims, error: %v", len(claims), err)
	}
	c := claims[0].Claim
	if c.Labels["from"] != "one" || c.Namespace != "default" || c.Spec.Devices.Requests[0].Exactly.Count != 3 {
		t.Errorf("claim: %+v", c)
	}
}

func container(name string, quantities ...string) corev1.Container {
	c := corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{}}}
	for i := 0; i+1 < len(quantities); i += 2 {
		c.Resources.Limits[corev1.ResourceName(quantities[i])] = resource.MustParse(quantities[i+1])
	}
	return c
}

func sidecar(c corev1.Container) corev1.Container {
	c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	return c
}

// The expectations follow from createRequestsAndMappings of Kubernetes 1.37.
func TestLimitsBecomeAClaim(t *testing.T) {
	named := gpuClass()
	named.Spec.ExtendedResourceName = new("example.com/gpu")
	newer := class("newer", "true")
	newer.Spec.ExtendedResourceName = new("example.com/gpu")
	newer.CreationTimestamp = metav1.Unix(1000, 0)
	plugged := node("node-a")
	plugged.Status.Allocatable = corev1.ResourceList{"example.com/gpu": resource.MustParse("2")}
	used := node("node-a")
	used.Status.Allocatable = corev1.ResourceList{"example.com/gpu": resource.MustParse("0")}

	for title, c := range map[string]struct {
		version          string
		classes          []*resourceapi.DeviceClass
		init, containers []corev1.Container
		node             *corev1.Node
		want             string
		err              string
	}{
		"no limits": {containers: []corev1.Container{container("main")}},
		"processors are not devices": {
			containers: []corev1.Container{container("main", "cpu", "1", "hugepages-2Mi", "2Mi", "kubernetes.io/x", "1")},
		},
		"the resource that a class names": {
			containers: []corev1.Container{container("main", "cpu", "1", "example.com/gpu", "2")},
			want:       "container-0-request-1: 2 gpu",
		},
		"the resource that each class has": {
			containers: []corev1.Container{container("main", "deviceclass.resource.kubernetes.io/gpu", "1")},
			want:       "container-0-request-0: 1 gpu",
		},
		"the resource that each class has, on Kubernetes 1.34": {
			version:    "v1.34.3",
			containers: []corev1.Container{container("main", "deviceclass.resource.kubernetes.io/gpu", "1")},
		},
		"the resource that a class names, on Kubernetes 1.34": {
			version:    "v1.34.3",
			containers: []corev1.Container{container("main", "example.com/gpu", "1")},
			want:       "container-0-request-0: 1 gpu",
		},
		"several containers": {
			containers: []corev1.Container{
				container("a", "example.com/gpu", "1"), container("b"), container("c", "example.com/gpu", "3"),
			},
			want: "container-0-request-0: 1 gpu, container-2-request-0: 3 gpu",
		},
		"an init container uses those of the others": {
			init:       []corev1.Container{container("init", "example.com/gpu", "1")},
			containers: []corev1.Container{container("main", "example.com/gpu", "2")},
			want:       "container-1-request-0: 2 gpu",
		},
		"an init container that needs more": {
			init:       []corev1.Container{container("init", "example.com/gpu", "3")},
			containers: []corev1.Container{container("main", "example.com/gpu", "2")},
			want:       "container-0-request-0: 1 gpu, container-1-request-0: 2 gpu",
		},
		"of init containers, the one that needs most": {
			init: []corev1.Container{
				container("a", "example.com/gpu", "1"), container("b", "example.com/gpu", "2"),
				container("c", "example.com/gpu", "2"),
			},
			containers: []corev1.Container{container("main")},
			want:       "container-1-request-0: 2 gpu",
		},
		"a sidecar runs beside the others": {
			init: []corev1.Container{
				sidecar(container("side", "example.com/gpu", "1")), container("init", "example.com/gpu", "1"),
			},
			containers: []corev1.Container{container("main", "example.com/gpu", "1")},
			want:       "container-0-request-0: 1 gpu, container-2-request-0: 1 gpu",
		},
		"the newest of two classes": {
			classes:    []*resourceapi.DeviceClass{newer, named},
			containers: []corev1.Container{container("main", "example.com/gpu", "1")},
			want:       "container-0-request-0: 1 newer",
		},
		"a node whose device plugin has it": {
			containers: []corev1.Container{container("main", "example.com/gpu", "1")}, node: plugged,
		},
		"a node whose device plugin has none any more": {
			containers: []corev1.Container{container("main", "example.com/gpu", "1")}, node: used,
			want: "container-0-request-0: 1 gpu",
		},
		"a resource that nobody has": {
			containers: []corev1.Container{container("main", "example.com/fpga", "1")}, node: plugged,
			err: "has no example.com/fpga, and no DeviceClass stands for it",
		},
		"a resource that nobody has, without a node": {
			containers: []corev1.Container{container("main", "example.com/fpga", "1")},
		},
	} {
		t.Run(title, func(t *testing.T) {
			if c.classes == nil {
				c.classes = []*resourceapi.DeviceClass{named}
			}
			p := pod("pod")
			p.Spec.InitContainers, p.Spec.Containers = c.init, c.containers
			claim, err := allocate.ExtendedClaim(&view.Cluster{Version: c.version, Classes: c.classes}, p, c.node)
			var got []string
			if claim != nil {
				for _, r := range claim.Spec.Devices.Requests {
					got = append(got, fmt.Sprintf("%s: %d %s", r.Name, r.Exactly.Count, r.Exactly.DeviceClassName))
				}
			}
			if g := strings.Join(got, ", "); g != c.want {
				t.Errorf("requests: %q, want %q", g, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error: %v, want %q", err, c.err)
			}
		})
	}
}

func TestAPodFitsANodeByWhatHasNothingToDoWithDevices(t *testing.T) {
	labelled := node("node-a", "zone", "a")
	cordoned := node("node-a")
	cordoned.Spec.Unschedulable = true
	tainted := node("node-a")
	tainted.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "only", Effect: corev1.TaintEffectNoSchedule}}
	preferred := node("node-a")
	preferred.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectPreferNoSchedule}}
	with := func(change func(*corev1.PodSpec)) *corev1.Pod {
		p := pod("pod")
		change(&p.Spec)
		return p
	}
	tolerates := func(key string) *corev1.Pod {
		return with(func(s *corev1.PodSpec) {
			s.Tolerations = []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpExists}}
		})
	}
	affine := func(zone string) *corev1.Pod {
		return with(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: inZone(zone),
			}}
		})
	}
	for title, c := range map[string]struct {
		node *corev1.Node
		pod  *corev1.Pod
		why  string
	}{
		"nothing is asked for": {labelled, pod("pod"), ""},
		"the label is there": {
			labelled, with(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "a"} }), "",
		},
		"the label is another one": {
			labelled, with(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "b"} }),
			"lacks the label zone=b, which the pod selects",
		},
		"the affinity matches":        {labelled, affine("a"), ""},
		"the affinity does not match": {labelled, affine("b"), "does not match the pod's node affinity"},
		"the node is the pod's":       {labelled, with(func(s *corev1.PodSpec) { s.NodeName = "node-a" }), ""},
		"the pod is for another node": {
			labelled, with(func(s *corev1.PodSpec) { s.NodeName = "node-b" }), "the pod is for node node-b",
		},
		"the node is cordoned":       {cordoned, pod("pod"), "is cordoned"},
		"the pod does not mind that": {cordoned, tolerates("node.kubernetes.io/unschedulable"), ""},
		"the node is tainted": {
			tainted, pod("pod"), "has taint gpu=only:NoSchedule, which the pod does not tolerate",
		},
		"the pod tolerates the taint": {tainted, tolerates("gpu"), ""},
		"the taint is only a wish":    {preferred, pod("pod"), ""},
		"the pod tolerates another":   {tainted, tolerates("other"), "has taint gpu=only:NoSchedule"},
	} {
		t.Run(title, func(t *testing.T) {
			err := allocate.Fits(c.node, c.pod)
			var no *allocate.NodeError
			if c.why == "" && err != nil || c.why != "" && (!errors.As(err, &no) || !strings.Contains(no.Why, c.why)) {
				t.Errorf("error: %v, want %q", err, c.why)
			}
		})
	}
}
