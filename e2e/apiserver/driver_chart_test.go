package apiserver

import (
	"bytes"
	"os/exec"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/e2e/preflight"
	"example.com/dragoman/pkg/sanity/apiserver"
)

const (
	chartDriver = "gpu.example.com"
	nodeA       = "node-a"
)

// installed is an API server with the chart's rights and policies, seen by the administrator and by the driver on
// node-a.
func installed(t *testing.T, version, gates string) (admin, driver *kubernetes.Clientset) {
	t.Helper()
	server := startVersion(t, version, gates)
	admin = install(t, server)
	return admin, onNode(t, server, nodeA)
}

// install makes what the chart says about who may do what, and node-a.
func install(t *testing.T, server *apiserver.Server) (admin *kubernetes.Clientset) {
	t.Helper()
	environment, err := preflight.Environment("HELM")
	if err != nil {
		t.Fatal(err)
	}
	admin = clientOf(t, server.Kubeconfig)
	_, err = admin.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.CoreV1().Nodes().Create(t.Context(),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeA}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var problems bytes.Buffer
	helm := exec.CommandContext(t.Context(), environment["HELM"], "template", "dragoman",
		"../../deployments/helm/dragoman", "--namespace", namespace, "--show-only", "templates/serviceaccount.yaml",
		"--show-only", "templates/rbac.yaml", "--show-only", "templates/validatingadmissionpolicy.yaml")
	helm.Stderr = &problems
	rendered, err := helm.Output()
	if err != nil {
		t.Fatalf("render the chart: %v: %s", err, &problems)
	}
	(&installation{server: server, admin: admin}).create(t, rendered)
	return admin
}

// onNode is the driver with a token that is bound to its pod on a node, as the kubelet gives it to the pod.
func onNode(t *testing.T, server *apiserver.Server, node string) *kubernetes.Clientset {
	t.Helper()
	pod, err := clientOf(t, server.Kubeconfig).CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "dragoman-on-" + node},
		Spec: corev1.PodSpec{ServiceAccountName: "dragoman", NodeName: node,
			Containers: []corev1.Container{{Name: "plugin", Image: "dragoman"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return withToken(t, server, &authenticationv1.BoundObjectReference{
		APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID})
}

// withToken is the driver with a token that is bound to something, or to nothing.
func withToken(
	t *testing.T, server *apiserver.Server, bound *authenticationv1.BoundObjectReference,
) *kubernetes.Clientset {
	t.Helper()
	token, err := clientOf(t, server.Kubeconfig).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "dragoman",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token.Status.Token
	driver := clientFor(t, config)
	eventually(t, "the API server knows the driver's rights", func() bool {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: "resource.k8s.io", Resource: "resourceclaims",
				Subresource: "status", Verb: "patch"}}}
		answer, err := driver.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status.Allowed
	})
	return driver
}

// theRole holds the driver's rights.
func theRole(t *testing.T, admin *kubernetes.Clientset) *rbacv1.ClusterRole {
	t.Helper()
	role, err := admin.RbacV1().ClusterRoles().Get(t.Context(), "dragoman-"+chartDriver, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return role
}

// eventually looks again and again until ok, since nothing tells of the change.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const patience = 30 * time.Second // only used up when a test fails
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
