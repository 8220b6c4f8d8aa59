package cluster

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	resourceclient "k8s.io/client-go/kubernetes/typed/resource/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// onlyItsOwnSlices uses tokens as the driver's pods have them. Nothing is written: the API server decides, and stops
// there.
func onlyItsOwnSlices() types.Feature {
	dry := []string{metav1.DryRunAll}
	return features.New("a node's driver writes its own slices alone").
		Assess("its token may create, update and delete those of its own node", assess(func(t *testing.T) {
			own, slice := slicesAs(t, worker, true), aSliceOf(t, worker)
			if _, err := own.Update(t.Context(), slice, metav1.UpdateOptions{DryRun: dry}); err != nil {
				t.Errorf("update: %v", err)
			}
			if _, err := own.Create(t.Context(), another(slice), metav1.CreateOptions{DryRun: dry}); err != nil {
				t.Errorf("create: %v", err)
			}
			if err := own.Delete(t.Context(), slice.Name, metav1.DeleteOptions{DryRun: dry}); err != nil {
				t.Errorf("delete: %v", err)
			}
		})).
		Assess("the token of another node may not", assess(func(t *testing.T) {
			own, slice := slicesAs(t, worker, true), aSliceOf(t, controlPlane)
			_, err := own.Update(t.Context(), slice, metav1.UpdateOptions{DryRun: dry})
			expectPolicy(t, "update", err)
			_, err = own.Create(t.Context(), another(slice), metav1.CreateOptions{DryRun: dry})
			expectPolicy(t, "create", err)
			expectPolicy(t, "delete", own.Delete(t.Context(), slice.Name, metav1.DeleteOptions{DryRun: dry}))
		})).
		Assess("not those of another driver", assess(func(t *testing.T) {
			own, slice := slicesAs(t, worker, true), another(aSliceOf(t, worker))
			slice.Spec.Driver = "other.example.com"
			_, err := own.Create(t.Context(), slice, metav1.CreateOptions{DryRun: dry})
			expectPolicy(t, "create", err)
		})).
		Assess("not one for all nodes", assess(func(t *testing.T) {
			own, slice := slicesAs(t, worker, true), another(aSliceOf(t, worker))
			slice.Spec.NodeName, slice.Spec.AllNodes = nil, new(true)
			_, err := own.Create(t.Context(), slice, metav1.CreateOptions{DryRun: dry})
			expectPolicy(t, "create", err)
		})).
		Assess("none with a token that is bound to no pod", assess(func(t *testing.T) {
			unbound, slice := slicesAs(t, worker, false), aSliceOf(t, worker)
			_, err := unbound.Update(t.Context(), slice, metav1.UpdateOptions{DryRun: dry})
			expectPolicy(t, "update", err)
		})).Feature()
}

// expectPolicy checks that it was the policy that refused, not the lack of a right.
func expectPolicy(t *testing.T, what string, err error) {
	t.Helper()
	if !isForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		t.Errorf("%s: the API server says %v; expected a refusal by the ValidatingAdmissionPolicy", what, err)
	}
}

func aSliceOf(t *testing.T, n node) *resourceapi.ResourceSlice {
	t.Helper()
	published(t, n)
	complete, err := pool(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return &complete[0]
}

// another is a new slice like slice.
func another(slice *resourceapi.ResourceSlice) *resourceapi.ResourceSlice {
	slice = slice.DeepCopy()
	slice.ObjectMeta = metav1.ObjectMeta{Name: slice.Name + "-2"}
	return slice
}

func slicesAs(t *testing.T, n node, bound bool) resourceclient.ResourceSliceInterface {
	t.Helper()
	return driverAs(t, n, bound).ResourceSlices()
}

// driverAs is a client with a token of the driver's ServiceAccount, bound to the driver's pod on a node or to nothing.
func driverAs(t *testing.T, n node, bound bool) resourceclient.ResourceV1Interface {
	t.Helper()
	pod, err := driverOn(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{}
	if bound {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
		}
	}
	request, err = client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName,
		request, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a token: %v", err)
	}
	config := rest.AnonymousClientConfig(restConfig)
	config.BearerToken = request.Status.Token
	as, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return as.ResourceV1()
}
