package cluster

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// secret is what must not be in a bundle, wherever it is in the cluster.
const secret = "correct-horse-battery-staple"

// record is where the bundle of deskBundle goes, so that the screens of "kubectl dra" are tested on real clusters, too.
var record = flag.String("record", "", "the folder in which TestDesk puts a bundle of the cluster, with which "+
	"cmd/kubectl-dra tests its screens")

// deskBundle is about a bundle of a cluster with something to see: devices that are in use, looked at, ill, cut and
// shared, and pods that wait for them.
func deskBundle(at terminal) types.Feature {
	s, shares := newScene("team-a", 4), newScene("dragoman-13", 2)
	s.labels = map[string]string{resourceapi.DRAAdminNamespaceLabelKey: "true"}
	var files map[string]string
	f := features.New("gather").Setup(s.begin).Setup(allWellAfterwards)
	if gateOn("DRAConsumableCapacity") {
		f = f.Setup(shares.appliedWithClasses("13-share-of-a-device", sharedClass))
	}
	return f.
		Assess("writes what a maintainer needs", assess(func(t *testing.T) {
			s.keepSecrets(t)
			s.busy(t)
			at.types(t, "gather -o bundle.tar.gz").expect(t, "gather", 0, []string{"bundle.tar.gz"}, "README.txt")
			files = unpacked(t, filepath.Join(at.directory, "bundle.tar.gz"))
			s.expectFiles(t, files)
		})).
		Assess("and no secrets", assess(func(t *testing.T) {
			for name, text := range files {
				if strings.Contains(text, secret) {
					t.Errorf("%s has the secret", name)
				}
			}
			if strings.Contains(files["cluster/pods.yaml"], "sleep 86400") {
				t.Error("it has what users' pods run")
			}
		})).
		Assess("says the same as the cluster", assess(func(t *testing.T) {
			lines := []string{"devices", "devices -o json", "devices --parts"}
			for _, pod := range []string{"train", "monitor", "large", "same"} {
				lines = append(lines, "why pod/"+pod+" -n "+s.namespace)
			}
			for _, line := range lines {
				live, kept := at.types(t, line), at.types(t, line+" --from bundle.tar.gz")
				if live != kept {
					t.Errorf("%s: the cluster says\n%s%s[exit %d]\nthe bundle\n%s%s[exit %d]",
						line, live.out, live.talk, live.code, kept.out, kept.talk, kept.code)
				}
			}
			at.record(t)
		})).Feature()
}

// busy makes pods that have devices, and pods that wait for one: more than there are, and one that is ill.
func (s *scene) busy(t *testing.T) {
	t.Helper()
	const first = `device.attributes["` + driverName + `"].index == 0`
	s.create(t, newTemplate("two", 2), adminLooks("look"), newTemplate("nine", devicesPerNode+1),
		ofClass("first", driverName, first), ofClass("half", migClass, partOf("3g.40gb")),
		ofClass("small", migClass, partOf("1g.10gb")))
	train := newPod("train", "two")
	train.Annotations = map[string]string{"example.com/token": secret}
	train.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: secret}}
	s.createPod(t, train)
	s.running(t, "train")
	running := map[string]string{"monitor": "look"}
	if gateOn("DRAPartitionableDevices") {
		maps.Copy(running, map[string]string{"half": "half", "small": "small"})
	}
	for pod, template := range running {
		s.createPod(t, newPod(pod, template))
		s.running(t, pod)
	}
	fallsIll(t)
	devicesBecome(t, worker, "a sick one", func(devices map[string]resourceapi.Device) error {
		if d, ok := devices[sick]; ok && len(d.Taints) == 0 {
			return fmt.Errorf("%s is well", sick)
		}
		return nil
	})
	for pod, template := range map[string]string{"large": "nine", "same": "first"} {
		s.createPod(t, newPod(pod, template))
		s.expectPending(t, pod, "cannot allocate all claims")
	}
}

func partOf(profile string) string {
	return `device.attributes["` + driverName + `"].profile == "` + profile + `"`
}

// expectFiles checks what is in a bundle.
func (s *scene) expectFiles(t *testing.T, files map[string]string) {
	t.Helper()
	drivers, err := driverPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{
		"README.txt": "What was left out", "versions.txt": "v1.", "feature-gates.txt": "DynamicResourceAllocation=true",
		"cluster/resourceclaims.yaml": "train-gpus-", "cluster/resourceslices.yaml": "gpu-1",
		"answers/devices.txt": s.namespace + "/train", "answers/why/" + s.namespace + "/large.txt": "waits: no node",
	}
	for _, pod := range drivers {
		parts["drivers/"+pod.Namespace+"/"+pod.Name+"/plugin.log"] = driverName
		parts["drivers/"+pod.Namespace+"/"+pod.Name+"/plugin.metrics.txt"] = "dragoman_build_info"
	}
	for name, part := range parts {
		if !strings.Contains(files[name], part) {
			t.Errorf("file %q does not say %q:\n%s", name, part, files[name])
		}
	}
}

// record keeps the bundle, if that is asked for.
func (at terminal) record(t *testing.T) {
	t.Helper()
	if *record == "" {
		return
	}
	bundle, err := os.ReadFile(filepath.Join(at.directory, "bundle.tar.gz"))
	if err == nil {
		err = os.WriteFile(filepath.Join(*record, "bundle.tar.gz"), bundle, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keepSecrets makes a Secret and a ConfigMap with it.
func (s *scene) keepSecrets(t *testing.T) {
	t.Helper()
	_, err := client.CoreV1().Secrets(s.namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "kept"}, StringData: map[string]string{"password": secret},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().ConfigMaps(s.namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"password": secret},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// unpacked returns the files of a bundle by their names below its folder.
func unpacked(t *testing.T, bundle string) map[string]string {
	t.Helper()
	file, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it is only read
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(text)
	}
}

// deskRights is about somebody who may see one namespace, then also the devices: what could not be seen is said.
func deskRights(at terminal) types.Feature {
	s := newScene("e2e-desk", 1)
	var user terminal
	why := "why pod/waits -n " + s.namespace
	return features.New("the rights of a user").Setup(s.begin).
		Assess("who may see nothing gets no answer", assess(func(t *testing.T) {
			s.create(t, newTemplate("nine", devicesPerNode+1))
			s.createPod(t, newPod("waits", "nine"))
			s.expectPending(t, "waits", "cannot allocate all claims")
			user = s.user(t, at, "desk")
			user.types(t, "devices").expect(t, "devices", 2, nil, "resourceslices")
			user.types(t, why).expect(t, why, 2, nil, "waits", s.namespace)
		})).
		Assess("who may see one namespace is told what is missing", assess(func(t *testing.T) {
			s.allow(t, "desk", "", "pods", "events")
			s.allow(t, "desk", "resource.k8s.io", "resourceclaims", "resourceclaimtemplates")
			user.eventually(t, why, 2, "Not seen: resourceslices.")
			said := user.types(t, "devices -n "+s.namespace)
			if said.code != 2 || said.out != "" || strings.Contains(said.talk, "there are no") {
				t.Errorf("of devices, which cannot be seen, it says\n%s%s[exit %d]", said.out, said.talk, said.code)
			}
		})).
		Assess("who may see the devices, too, gets the answer", assess(func(t *testing.T) {
			s.allowEverywhere(t, "desk", "resource.k8s.io", "resourceslices", "deviceclasses")
			said := user.eventually(t, why, 1, "Not seen: nodes")
			if !strings.Contains(said.out, "Pod "+s.namespace+"/waits waits: no node has 9 devices") {
				t.Errorf("it says\n%s", said.out)
			}
			some := []string{"gpu-0", " devices on 2 nodes"}
			user.types(t, "devices").expect(t, "devices", 0, some, "Not seen: resourceclaims")
		})).Feature()
}

// user makes a ServiceAccount and returns the terminal of who has its token.
func (s *scene) user(t *testing.T, at terminal, name string) terminal {
	t.Helper()
	accounts := client.CoreV1().ServiceAccounts(s.namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := accounts.Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request, err := accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["kind"] = &clientcmdapi.Cluster{
		Server: restConfig.Host, CertificateAuthorityData: restConfig.CAData, CertificateAuthority: restConfig.CAFile,
	}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: "kind", AuthInfo: name}
	config.CurrentContext = name
	at.kubeconfig = filepath.Join(at.directory, name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, at.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return at
}

// eventually types a command until it answers so: rights that were given take a moment.
func (at terminal) eventually(t *testing.T, line string, code int, talk string) (said answer) {
	t.Helper()
	until(t, "kubectl dra "+line+" says "+talk, func(context.Context) error {
		if said = at.types(t, line); said.code != code || !strings.Contains(said.talk, talk) {
			return fmt.Errorf("it says\n%s%s[exit %d]", said.out, said.talk, said.code)
		}
		return nil
	})
	return said
}

// allow lets a ServiceAccount read kinds of the namespace.
func (s *scene) allow(t *testing.T, account, group string, kinds ...string) {
	t.Helper()
	name := metav1.ObjectMeta{Name: account + "-" + kinds[0]}
	_, err := client.RbacV1().Roles(s.namespace).Create(t.Context(),
		&rbacv1.Role{ObjectMeta: name, Rules: reading(group, kinds)}, metav1.CreateOptions{})
	if err == nil {
		_, err = client.RbacV1().RoleBindings(s.namespace).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: name, Subjects: s.subject(account),
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// allowEverywhere lets a ServiceAccount read kinds of the cluster, until the end of the test.
func (s *scene) allowEverywhere(t *testing.T, account, group string, kinds ...string) {
	t.Helper()
	name := metav1.ObjectMeta{Name: s.namespace + "-" + account}
	remove := func(ctx context.Context) {
		for _, remove := range []func(context.Context, string, metav1.DeleteOptions) error{
			client.RbacV1().ClusterRoleBindings().Delete, client.RbacV1().ClusterRoles().Delete,
		} {
			if err := remove(ctx, name.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	}
	remove(t.Context())
	t.Cleanup(func() { remove(context.WithoutCancel(t.Context())) })
	_, err := client.RbacV1().ClusterRoles().Create(t.Context(),
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: reading(group, kinds)}, metav1.CreateOptions{})
	if err == nil {
		_, err = client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: name, Subjects: s.subject(account),
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func reading(group string, kinds []string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		APIGroups: []string{group}, Resources: slices.Clone(kinds), Verbs: []string{"get", "list"},
	}}
}

func (s *scene) subject(account string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: account}}
}
