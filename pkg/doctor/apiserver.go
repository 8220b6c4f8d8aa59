package doctor

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/device"
)

// apiServer looks for the API by which pods ask for devices, and for the right to use it.
func apiServer(ctx context.Context, o Options) []device.Finding {
	const subject = "API server"
	if o.Client == nil {
		return doubtful(subject, fmt.Sprintf("cannot be asked: %v", o.NoClient), "name a kubeconfig with --kubeconfig")
	}
	version, err := o.Client.Discovery().ServerVersion()
	if err != nil {
		return bad(subject, fmt.Sprintf("does not answer: %v", err),
			"check the address in the kubeconfig, and the network between this node and the control plane")
	}
	group := resourceapi.SchemeGroupVersion.String()
	_, err = o.Client.Discovery().ServerResourcesForGroupVersion(group)
	switch {
	case apierrors.IsNotFound(err):
		return bad(subject, fmt.Sprintf("Kubernetes %s does not serve %s", version.GitVersion, group),
			"upgrade to 1.34 or newer, or remove what turns it off from the API server's --runtime-config")
	case err != nil:
		return bad(subject, fmt.Sprintf("does not say whether it serves %s: %v", group, err), "")
	}
	return append(good(subject, fmt.Sprintf("Kubernetes %s serves %s", version.GitVersion, group)), rights(ctx, o)...)
}

// rights asks for what the driver needs, in the name of who asks.
func rights(ctx context.Context, o Options) []device.Finding {
	const subject = "rights"
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var denied []string
	for _, need := range []struct{ verb, resource string }{
		{"get", "resourceclaims"}, {"list", "resourceslices"}, {"watch", "resourceslices"},
		{"create", "resourceslices"}, {"update", "resourceslices"}, {"delete", "resourceslices"},
	} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: resourceapi.GroupName, Verb: need.verb, Resource: need.resource,
			},
		}}
		answer, err := o.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return doubtful(subject, fmt.Sprintf("cannot be asked for: %v", err), "")
		}
		if !answer.Status.Allowed {
			denied = append(denied, need.verb+" "+need.resource)
		}
	}
	if len(denied) > 0 {
		return bad(subject, "not allowed: "+strings.Join(denied, ", "),
			"run this in the driver's pod (kubectl exec), or check its ClusterRole and binding")
	}
	return good(subject, "claims can be read and slices written")
}
