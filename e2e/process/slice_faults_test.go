package process

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// refuse makes the API server refuse slices of this node with a changed device, for this reason. It returns what makes
// it accept them again.
func (r *rig) refuse(reason metav1.StatusReason) (accept func()) {
	r.t.Helper()
	ctx, name := r.t.Context(), r.node.Name
	policies := r.server.client.AdmissionregistrationV1()
	rule := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule: admissionv1.Rule{
			APIGroups: []string{resourceapi.GroupName}, APIVersions: []string{"*"}, Resources: []string{"resourceslices"},
		},
	}
	_, err := policies.ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: rule}},
			},
			Validations: []admissionv1.Validation{{
				Expression: fmt.Sprintf("object.spec.nodeName != %q || !object.spec.devices.exists(d, "+
					"'model' in d.attributes && d.attributes['model'].string == 'CHANGED')", name),
				Message: "nobody changes a device here", Reason: &reason,
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding.Spec.PolicyName = name
	binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
	bindings := policies.ValidatingAdmissionPolicyBindings()
	if _, err := bindings.Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.until("the policy is in force", func(ctx context.Context) error {
		if err := r.offer("CHANGED"); !apierrors.IsRequestEntityTooLargeError(err) && !apierrors.IsForbidden(err) {
			return fmt.Errorf("a slice with a changed device: %w", err)
		}
		return nil
	})
	return func() {
		r.t.Helper()
		if err := bindings.Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
			r.t.Fatal(err)
		}
		r.until("the policy is not in force", func(context.Context) error { return r.offer("CHANGED") })
	}
}

// offer says what the API server has against a slice of this node with a device of that model.
func (r *rig) offer(model string) error {
	slice := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{GenerateName: "offer-"}}
	slice.Spec = resourceapi.ResourceSliceSpec{
		Driver: driverName, NodeName: &r.node.Name,
		Pool: resourceapi.ResourcePool{Name: r.node.Name, ResourceSliceCount: 1, Generation: 1},
		Devices: []resourceapi.Device{{Name: "offer", Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"model": {StringValue: &model},
		}}},
	}
	_, err := r.server.client.ResourceV1().ResourceSlices().Create(r.t.Context(), slice,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func TestFault28RefusedSlices(t *testing.T) {
	t.Parallel()
	for kind, reason := range map[string]metav1.StatusReason{
		"invalid": metav1.StatusReasonRequestEntityTooLarge, "forbidden": metav1.StatusReasonForbidden,
	} {
		for name, changed := range map[string][]int{"one slice": {70}, "two slices": {3, 70}} {
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				const devices = 130
				r := newRig(t)
				api := r.behindProxy()
				machine := profile(devices)
				d := r.startReady("mockProfile", r.writeYAML("profile.yaml", machine))
				before := versions(r.published(devices))
				accept := r.refuse(reason)
				var change change
				for _, index := range changed {
					change = machine.change(index)
				}
				r.writeYAML("profile.yaml", machine)

				r.unready("nobody changes a device here")
				r.until("a metric counts it", func(ctx context.Context) error { return r.counted(ctx, kind) })
				if now := versions(r.published(devices)); !maps.Equal(before, now) {
					t.Errorf("the last good slices did not stay:\nbefore %v\nafter  %v", before, now)
				}
				claim := r.claim("claim", r.devices("gpu-0"))
				r.mustResolve(prepare(t, d, claim))
				unprepare(t, d, claim)
				// Nothing happens that could be waited for: that is what is to be shown.
				begin := writes(api)
				time.Sleep(5 * time.Second)
				if n := writes(api) - begin; n > 10 {
					t.Errorf("it was tried %d times in 5 s", n)
				}
				r.wipe()
				r.republished(devices, before) // the last good ones

				accept()
				r.until("the change is published", func(context.Context) error { return change.in(r.published(devices)) })
				r.until("it is ready", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })
			})
		}
	}
}

// counted returns nil once an error of that kind was counted.
func (r *rig) counted(ctx context.Context, kind string) error {
	all, err := r.metrics(ctx)
	if err != nil {
		return err
	}
	for name, value := range all {
		if n, err := strconv.ParseFloat(value, 64); err == nil && n > 0 &&
			strings.HasPrefix(name, "dragoman_publish_errors_total") && strings.Contains(name, `"`+kind+`"`) {
			return nil
		}
	}
	return fmt.Errorf("no error of kind %s is counted", kind)
}

// writes counts the requests that were to change slices, dry runs included.
func writes(api *proxied) (n int) {
	for request, times := range api.Requests() {
		if request.Resource == "resourceslices" && request.Verb != "list" && request.Verb != "watch" {
			n += times
		}
	}
	return n
}

// An API server with Kubernetes' defaults drops taints before 1.36: the driver finds out and does without.
func TestFault28FieldsThatTheAPIServerDrops(t *testing.T) {
	t.Parallel()
	plain, err := startServer(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plain.stop(); err != nil {
			t.Error(err)
		}
	})
	for policy, published := range map[string]int{"Keep": 4, "LeaveOut": 3} {
		t.Run(policy, func(t *testing.T) {
			r := newRigOn(t, plain)
			api := r.behindProxy()
			machine := profile(4)
			machine.sicken(2)
			d := r.startReady("mockProfile", r.writeYAML("profile.yaml", machine),
				"health", map[string]any{"withoutTaints": policy})
			if got := taints(r.published(published)); len(got) > 0 {
				t.Errorf("taints are %v", got)
			}
			expectSentence(t, d.output.String(), []string{"DRADeviceTaints"})
			begin := writes(api)
			claim := r.claim("claim", r.devices("gpu-0"))
			r.mustResolve(prepare(t, d, claim))
			unprepare(t, d, claim)
			machine.heal()
			r.writeYAML("profile.yaml", machine)
			r.published(4)
			if n, most := writes(api)-begin, 4-published+1; n > most {
				t.Errorf("it took %d writes, expected at most %d", n, most)
			}
			r.until("it is ready", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })
		})
	}
}
