package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/view/why"
)

// user is somebody at a terminal, with a namespace.
type user struct {
	terminal
	namespace string
}

// begin makes the namespace, says it in the kubeconfig, and arranges that all that is in it goes away.
func begin(t *testing.T, namespace string) *user {
	t.Helper()
	u := &user{newTerminal(t), namespace}
	config, err := clientcmd.LoadFromFile(u.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Contexts {
		c.Namespace = namespace
	}
	u.kubeconfig = filepath.Join(u.programs, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, u.kubeconfig); err != nil {
		t.Fatal(err)
	}
	if err := removeNamespaceThatIs(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{testLabel: ""}}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatalf("make the namespace: %v", err)
	}
	t.Cleanup(func() { u.end(t) })
	until(t, "pods can be made in the namespace", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return u
}

// removeNamespaceThatIs removes a namespace if an earlier run has left it.
func removeNamespaceThatIs(ctx context.Context, name string) error {
	_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeNamespace(ctx, name)
}

// end removes the objects of the namespace and waits for the claims, so that their devices are free. The namespace
// itself takes seconds more, in which the next rows run.
func (u *user) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if t.Failed() {
		(&scene{namespace: u.namespace}).explain(ctx, t)
	}
	now, background, all := int64(0), metav1.DeletePropagationBackground, metav1.ListOptions{}
	err := errors.Join(
		client.CoreV1().Pods(u.namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, all),
		client.CoreV1().Namespaces().Delete(ctx, u.namespace, metav1.DeleteOptions{PropagationPolicy: &background}),
		poll(ctx, func(ctx context.Context) error {
			claims, err := client.ResourceV1().ResourceClaims(u.namespace).List(ctx, all)
			if err == nil && len(claims.Items) > 0 {
				err = fmt.Errorf("%d claims are still there", len(claims.Items))
			}
			return err
		}))
	if err != nil {
		t.Errorf("tidy up: %v", err)
	}
}

// shell has a shell run a line, in which nodes have the names of screens.
func (u *user) shell(t *testing.T, line string) answer {
	t.Helper()
	return u.call(t, "sh", "-c", realNames(line))
}

// must is the same for what has to go well.
func (u *user) must(t *testing.T, line string) {
	t.Helper()
	if a := u.shell(t, line); a.code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", line, a.code, a.out, a.talk)
	}
}

// apply makes the objects of a file of testdata/pending, which the user has in front of them. Those that are in no
// namespace go away with the test.
func (u *user) apply(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "pending", file))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(u.directory, file)
	write(t, copied, realNames(string(text)))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		_, err := program(ctx, "kubectl", "delete", "--kubeconfig", u.kubeconfig, "-f", copied, "--wait=false",
			"--ignore-not-found", "--force", "--grace-period=0")
		if err != nil {
			t.Errorf("remove what %s made: %v", file, err)
		}
	})
	u.must(t, "kubectl apply -f "+file)
}

// The nodes have these names in what is applied and in screens: those that kind gives if nobody says a name.
const (
	screenWorker       = "kind-worker"
	screenControlPlane = "kind-control-plane"
)

// realNames is a text with the nodes as they are called in this cluster.
func realNames(text string) string {
	return strings.NewReplacer(screenWorker, string(worker), screenControlPlane, string(controlPlane)).Replace(text)
}

// question is the command that the user types.
func (p pending) question() string {
	about := p.about
	if about == "" {
		about = "pod/train"
	}
	return "kubectl dra why " + about
}

// asProgram asks for the answer as programs read it.
func (u *user) asProgram(t *testing.T, p pending) (found why.Answer, err error) {
	t.Helper()
	said := u.shell(t, p.question()+" -o json")
	if said.code > 1 {
		return found, fmt.Errorf("exit code %d: %s", said.code, said.talk)
	}
	return found, json.Unmarshal([]byte(said.out), &found)
}

// mend types what the screen advises, and waits until it has helped.
func (u *user) mend(t *testing.T, p pending) {
	t.Helper()
	for _, line := range p.mend {
		u.must(t, line)
	}
	u.must(t, p.proof()+fmt.Sprintf(" --timeout=%s", patience))
}

// proof is the command that ends when the pod has what it waited for.
func (p pending) proof() string {
	mended := p.mended
	if mended == "" {
		mended = string(corev1.PodScheduled)
	}
	return "kubectl wait pod/train --for=condition=" + mended
}

// mendText is the end of a screen: what was typed, and that it helped.
func (p pending) mendText() string {
	if len(p.mend) == 0 {
		return ""
	}
	text := "\n"
	for _, line := range p.mend {
		text += "$ " + line + "\n"
	}
	return text + "$ " + p.proof() + "\npod/train condition met\n"
}

// noDriver takes the real driver and its devices away.
func noDriver(t *testing.T) {
	t.Helper()
	if err := runOn(t.Context(), `{"dragoman.example.com/e2e":"away"}`); err != nil {
		t.Fatal(err)
	}
	until(t, "the driver is gone", func(ctx context.Context) error {
		pods, err := driverPods(ctx)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("there are %d pods of it", len(pods))
		}
		if err != nil {
			return err
		}
		return removeSlices(ctx, driverName)
	})
}

// driverBack undoes noDriver.
func driverBack(ctx context.Context) error { return runOn(ctx, "null") }

// runOn sets the labels of the nodes on which the driver runs.
func runOn(ctx context.Context, labels string) error {
	set, err := daemonSet(ctx)
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"nodeSelector":%s}}}}`, labels)
	sets := client.AppsV1().DaemonSets(set.Namespace)
	if _, err := sets.Patch(ctx, set.Name, apitypes.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("change the nodes of the driver: %w", err)
	}
	return nil
}

func removeSlices(ctx context.Context, driver string) error {
	ofDriver := metav1.ListOptions{FieldSelector: "spec.driver=" + driver}
	return client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, ofDriver)
}

// removePendingLeftovers undoes what a run that was killed has done beside its namespaces.
func removePendingLeftovers(ctx context.Context) error {
	return errors.Join(driverBack(ctx), removeSlices(ctx, "pending.example.com"),
		manifestBack(ctx, "kube-scheduler"), manifestBack(ctx, "kube-controller-manager"))
}
