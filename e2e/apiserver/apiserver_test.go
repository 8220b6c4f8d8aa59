// Package apiserver tests the API server of dra-sanity with the real etcd and kube-apiserver, which it finds or builds.
package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// startOnly makes this test program start a server and say where, instead of testing.
const startOnly = "DRAGOMAN_E2E_START_ONLY"

func TestMain(m *testing.M) {
	if os.Getenv(startOnly) != "" {
		server, err := apiserver.Start(context.Background(), apiserver.Options{Programs: apiserver.Programs{
			Etcd: os.Args[1], APIServer: os.Args[2],
		}})
		fmt.Println(server.URL, err)
		select {}
	}
	os.Exit(m.Run())
}

// programs builds what it does not find; with Go's caches cold that takes minutes.
func programs(t *testing.T) apiserver.Programs {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Minute)
	defer stop()
	found, err := apiserver.Find(ctx, apiserver.Search{
		Version: apiserver.DefaultVersion, Environment: os.Getenv, Say: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func start(t *testing.T, options apiserver.Options) *apiserver.Server {
	t.Helper()
	options.Programs = programs(t)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	begin := time.Now()
	server, err := apiserver.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := server.Err(); err != nil {
			t.Error(err)
		}
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func clientOf(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return clientFor(t, config)
}

func clientFor(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// slice has one device with a taint, which an API server drops unless a feature gate says otherwise.
func slice() *resourceapi.ResourceSlice {
	node := "node"
	return &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "slice"},
		Spec: resourceapi.ResourceSliceSpec{
			Driver: "driver.example.com", NodeName: &node,
			Pool: resourceapi.ResourcePool{Name: "pool", ResourceSliceCount: 1},
			Devices: []resourceapi.Device{{Name: "device", Taints: []resourceapi.DeviceTaint{{
				Key: "example.com/sick", Effect: resourceapi.DeviceTaintEffectNoSchedule,
			}}}},
		},
	}
}

func TestAnEmbeddedAPIServerIsARealOne(t *testing.T) {
	server := start(t, apiserver.Options{})
	admin := clientOf(t, server.Kubeconfig)
	version, err := admin.ServerVersion()
	if err != nil || version.GitVersion != apiserver.DefaultVersion {
		t.Errorf("it is version %v (%v), expected %s", version, err, apiserver.DefaultVersion)
	}
	slices := admin.ResourceV1().ResourceSlices()
	kept, err := slices.Create(t.Context(), slice(), metav1.CreateOptions{})
	if err != nil || len(kept.Spec.Devices[0].Taints) != 0 {
		t.Errorf("created %+v (%v), expected that the taint is dropped by default", kept, err)
	}
	wrong := slice()
	wrong.Spec.Driver = "no/driver"
	if _, err := slices.Create(t.Context(), wrong, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a wrong slice: %v, expected that it is invalid", err)
	}
	for name, as := range map[string]*kubernetes.Clientset{
		"a certificate":           certified(t, server),
		"a service account token": tokened(t, server, admin),
	} {
		_, err := as.ResourceV1().ResourceSlices().List(t.Context(), metav1.ListOptions{})
		const user = `User "system:serviceaccount:default:driver" cannot list resource "resourceslices"`
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), user) {
			t.Errorf("a driver without rights, known by %s: %v", name, err)
		}
	}
}

// certified is a driver's client that has its name from a certificate, tokened one that has it from a token.
func certified(t *testing.T, server *apiserver.Server) *kubernetes.Clientset {
	t.Helper()
	kubeconfig, err := server.KubeconfigAs("system:serviceaccount:default:driver")
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, kubeconfig)
}

func tokened(t *testing.T, server *apiserver.Server, admin *kubernetes.Clientset) *kubernetes.Clientset {
	t.Helper()
	accounts := admin.CoreV1().ServiceAccounts(metav1.NamespaceDefault)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "driver"}}
	if _, err := accounts.Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := accounts.CreateToken(t.Context(), "driver", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token.Status.Token
	return clientFor(t, config)
}

func TestServersWithDifferentSettingsRunSideBySide(t *testing.T) {
	plain := clientOf(t, start(t, apiserver.Options{}).Kubeconfig)
	gated := clientOf(t, start(t, apiserver.Options{
		FeatureGates: "DRADeviceTaints=true", RuntimeConfig: "resource.k8s.io/v1beta2=true",
	}).Kubeconfig)
	kept, err := gated.ResourceV1().ResourceSlices().Create(t.Context(), slice(), metav1.CreateOptions{})
	if err != nil || len(kept.Spec.Devices[0].Taints) != 1 {
		t.Errorf("created %+v (%v), expected that the taint is kept with the feature gate", kept, err)
	}
	if _, err := gated.ResourceV1beta2().ResourceSlices().Get(t.Context(), "slice", metav1.GetOptions{}); err != nil {
		t.Errorf("the other version of the API: %v", err)
	}
	_, err = plain.ResourceV1().ResourceSlices().Get(t.Context(), "slice", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the other server's slice: %v, expected that it is not here", err)
	}
	_, err = plain.ResourceV1beta2().ResourceSlices().Get(t.Context(), "slice", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("an API version that was not asked for: %v", err)
	}
}

func TestServersEndWithTheProcessThatStartedThem(t *testing.T) {
	found := programs(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Killed, it cannot tidy up: its folder is ours.
	parent := exec.Command(self, found.Etcd, found.APIServer)
	parent.Env = append(os.Environ(), startOnly+"=1", "TMPDIR="+t.TempDir())
	said, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "https://") {
		t.Errorf("it says %q, %v", line, err)
	}
	children := childrenOf(t, parent.Process.Pid)
	if len(children) != 2 {
		t.Errorf("it has the children %v, expected etcd and kube-apiserver", children)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for _, child := range children {
		for alive(child) {
			if ctx.Err() != nil {
				t.Fatalf("process %s is still there", child)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func childrenOf(t *testing.T, pid int) []string {
	t.Helper()
	var children []string
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, strings.Fields(string(content))...)
	}
	return children
}

// alive is false for a process that has ended and that nobody has waited for as well.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
