package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	resourceapi "k8s.io/api/resource/v1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	"example.com/dragoman/e2e/preflight"
	"example.com/dragoman/pkg/sanity/apiserver"
)

const (
	namespace      = "dragoman"
	controllerName = "dragoman-controller"
)

// installation is the chart's objects in an API server, without the nodes that would run its pods.
type installation struct {
	server     *apiserver.Server
	admin      *kubernetes.Clientset
	program    string // dragoman
	kubeconfig string // of the controller's ServiceAccount
	config     string // the DriverConfig
}

// newInstallation puts into an API server what "helm install" would, and gives the controller a token of its own.
func newInstallation(t *testing.T, server *apiserver.Server, values ...string) *installation {
	t.Helper()
	environment, err := preflight.Environment("DRAGOMAN_BIN", "HELM")
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{server: server, admin: clientOf(t, server.Kubeconfig), program: environment["DRAGOMAN_BIN"]}
	args := []string{"template", "dragoman", "../../deployments/helm/dragoman", "--namespace", namespace,
		"--api-versions", "resource.k8s.io/v1", "--kube-version", "1.34.3"}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	var problems bytes.Buffer
	helm := exec.Command(environment["HELM"], args...)
	helm.Stderr = &problems
	rendered, err := helm.Output()
	if err != nil {
		t.Fatalf("render the chart: %v: %s", err, &problems)
	}
	_, err = i.admin.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i.create(t, rendered)
	i.kubeconfig = i.account(t, controllerName)
	i.config = i.driverConfig(t)
	return i
}

func (i *installation) create(t *testing.T, rendered []byte) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", i.server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(rendered), 4096); ; {
		var object unstructured.Unstructured
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("read the rendered chart: %v", err)
		}
		if len(object.Object) == 0 || object.GetAnnotations()["helm.sh/hook"] != "" {
			continue
		}
		resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
		to := dynamic.ResourceInterface(client.Resource(resource))
		if object.GetNamespace() != "" {
			to = client.Resource(resource).Namespace(object.GetNamespace())
		}
		if _, err := to.Create(t.Context(), &object, metav1.CreateOptions{}); err != nil {
			t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// account returns a kubeconfig with a token of a ServiceAccount.
func (i *installation) account(t *testing.T, name string) string {
	t.Helper()
	token, err := i.admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(i.server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// driverConfig returns the file that the chart's ConfigMap would be, but for the address of its metrics.
func (i *installation) driverConfig(t *testing.T) string {
	t.Helper()
	stored, err := i.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), "dragoman", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := strings.Replace(stored.Data["config.yaml"], `httpAddress: ":8080"`, `httpAddress: "127.0.0.1:0"`, 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startController runs the program as the Deployment does, and returns how to end it.
func (i *installation) startController(t *testing.T, flags ...string) (stop func()) {
	t.Helper()
	program := exec.Command(i.program, append([]string{"controller", "--config", i.config, "--kubeconfig", i.kubeconfig,
		"--namespace", namespace, "--name", controllerName}, flags...)...)
	log, err := os.Create(filepath.Join(t.TempDir(), "controller.log"))
	if err != nil {
		t.Fatal(err)
	}
	program.Stdout, program.Stderr = log, log
	program.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = program.Process.Signal(syscall.SIGTERM) // one that has ended says so below
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the controller ended with %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the controller does not end")
			_ = program.Process.Kill()
		}
	}
	t.Cleanup(func() {
		stop()
		if said, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the controller's log (%v):\n%s", err, said)
		}
	})
	return stop
}

// address is one of this machine that others could reach, since those of the loopback interface are none of a Service.
func address(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if network, ok := one.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			return network.IP.String()
		}
	}
	t.Fatalf("this machine has no address but %v", all)
	return ""
}

// reachable leads the webhook's Service to a free port of this machine, which it returns as an address.
func (i *installation) reachable(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	at := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = i.admin.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: controllerName,
			Labels: map[string]string{discoveryv1.LabelServiceName: controllerName}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.IP.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports: []discoveryv1.EndpointPort{{Name: new("webhook"), Port: new(int32(at.Port)),
			Protocol: new(corev1.ProtocolTCP)}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return at.String()
}

// sharing is a GpuConfig for the driver in a claim.
func sharing(strategy string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: fabricDriver, Parameters: runtime.RawExtension{Raw: []byte(`{"apiVersion":` +
			`"gpu.resource.example.com/v1alpha1","kind":"GpuConfig","sharing":{"strategy":"` + strategy + `"}}`)},
	}}
}

func configured(name, strategy string) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{
		DeviceClassName: fabricDriver, AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1}}}
	claim.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: sharing(strategy)}}
	return claim
}

// untilRefused waits until the API server refuses, which it does once it knows of the webhook's certificate.
func untilRefused(t *testing.T, what string, try func(ctx context.Context) error) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		if err := try(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: nobody refuses it", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

const sentence = `.opaque.parameters.sharing.strategy: Unsupported value: "Sometimes": supported values: ` +
	`"TimeSlicing", "SpacePartitioning", "MPS", "Exclusive"`

func expectRefusal(t *testing.T, what, resource, want string, err error) {
	t.Helper()
	want = fmt.Sprintf("admission webhook %q denied the request: %s", resource+"."+fabricDriver, want)
	if err == nil || err.Error() != want || !apierrors.IsBadRequest(err) {
		t.Errorf("%s: %v\nexpected %s", what, err, want)
	}
}

func TestTheWebhookRefusesWrongConfigurations(t *testing.T) {
	for version, gates := range versions() {
		t.Run(version, func(t *testing.T) {
			server := startVersion(t, version, gates, "--enable-aggregator-routing=true",
				"--runtime-config=resource.k8s.io/v1beta2=true")
			i := newInstallation(t, server, "webhook.enabled=true")
			dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
			claims := i.admin.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
			stored, err := claims.Create(t.Context(), configured("before", "Sometimes"), metav1.CreateOptions{})
			if err != nil {
				t.Fatalf("with nobody to ask, the API server goes on by default: %v", err)
			}
			stop := i.startController(t, "--binding=false", "--webhook", "dragoman-gpu.example.com",
				"--webhook-address", i.reachable(t))

			err = untilRefused(t, "a wrong configuration", func(ctx context.Context) error {
				_, err := claims.Create(ctx, configured("wrong", "Sometimes"), dry)
				return err
			})
			expectRefusal(t, "a claim", "resourceclaims", "spec.devices.config[0]"+sentence, err)
			if _, err := claims.Create(t.Context(), configured("right", "Exclusive"), dry); err != nil {
				t.Errorf("a right configuration: %v", err)
			}
			foreign := configured("foreign", "Sometimes")
			foreign.Spec.Devices.Config[0].Opaque.Driver = "other.example.com"
			if _, err := claims.Create(t.Context(), foreign, dry); err != nil {
				t.Errorf("a configuration of another driver: %v", err)
			}
			template := &resourceapi.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "wrong"},
				Spec: resourceapi.ResourceClaimTemplateSpec{Spec: configured("", "Sometimes").Spec}}
			_, err = i.admin.ResourceV1().ResourceClaimTemplates(metav1.NamespaceDefault).Create(t.Context(), template, dry)
			expectRefusal(t, "a template", "resourceclaimtemplates", "spec.spec.devices.config[0]"+sentence, err)
			class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "wrong"}}
			class.Spec.Config = []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: sharing("Sometimes")}}
			_, err = i.admin.ResourceV1().DeviceClasses().Create(t.Context(), class, dry)
			expectRefusal(t, "a class", "deviceclasses", `DeviceClass "wrong": spec.config[0]`+sentence, err)
			_, err = i.admin.ResourceV1beta2().ResourceClaims(metav1.NamespaceDefault).Create(t.Context(), older(t), dry)
			expectRefusal(t, "a claim of another version of the API", "resourceclaims",
				"spec.devices.config[0]"+sentence, err)

			// Whoever changes something else of an object that is there already can do so.
			stored.Finalizers = append(stored.Finalizers, "example.com/keep")
			if _, err := claims.Update(t.Context(), stored, metav1.UpdateOptions{}); err != nil {
				t.Errorf("a finalizer for a claim that is wrong since before: %v", err)
			}
			stop()
			if _, err := claims.Create(t.Context(), configured("after", "Sometimes"), dry); err != nil {
				t.Errorf("with nobody to ask any more: %v", err)
			}
			// A replica that comes later goes on with the same certificate.
			before := certificateOf(t, i.admin)
			i.startController(t, "--binding=false", "--webhook", "dragoman-gpu.example.com",
				"--webhook-address", endpoint(t, i.admin))
			err = untilRefused(t, "a wrong configuration", func(ctx context.Context) error {
				_, err := claims.Create(ctx, configured("wrong", "Sometimes"), dry)
				return err
			})
			expectRefusal(t, "a claim", "resourceclaims", "spec.devices.config[0]"+sentence, err)
			if !bytes.Equal(before, certificateOf(t, i.admin)) {
				t.Error("the second process made another certificate")
			}
		})
	}
}

func older(t *testing.T) *resourcev1beta2.ResourceClaim {
	t.Helper()
	now := configured("older", "Sometimes")
	claim := &resourcev1beta2.ResourceClaim{ObjectMeta: now.ObjectMeta}
	claim.Spec.Devices.Requests = []resourcev1beta2.DeviceRequest{{Name: "gpu",
		Exactly: &resourcev1beta2.ExactDeviceRequest{DeviceClassName: fabricDriver,
			AllocationMode: resourcev1beta2.DeviceAllocationModeExactCount, Count: 1}}}
	opaque := now.Spec.Devices.Config[0].Opaque
	claim.Spec.Devices.Config = []resourcev1beta2.DeviceClaimConfiguration{{
		DeviceConfiguration: resourcev1beta2.DeviceConfiguration{Opaque: &resourcev1beta2.OpaqueDeviceConfiguration{
			Driver: opaque.Driver, Parameters: opaque.Parameters}}}}
	return claim
}

func certificateOf(t *testing.T, admin kubernetes.Interface) []byte {
	t.Helper()
	secret, err := admin.CoreV1().Secrets(namespace).Get(t.Context(), controllerName, metav1.GetOptions{})
	if err != nil || len(secret.Data["tls.crt"]) == 0 {
		t.Fatalf("the Secret has %d keys (%v), expected a certificate", len(secret.Data), err)
	}
	return secret.Data["tls.crt"]
}

func endpoint(t *testing.T, admin kubernetes.Interface) string {
	t.Helper()
	slice, err := admin.DiscoveryV1().EndpointSlices(namespace).Get(t.Context(), controllerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(slice.Endpoints[0].Addresses[0], fmt.Sprint(*slice.Ports[0].Port))
}

// as is a client with the rights of the controller.
func (i *installation) as(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", i.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return clientFor(t, rest.CopyConfig(config))
}

// TestTheChartsControllerAttachesDevices has the program, with the rights of the chart and no others, attach the
// devices of the profile showcase: gpu-6 after two seconds, gpu-7 never.
func TestTheChartsControllerAttachesDevices(t *testing.T) {
	for version, gates := range versions() {
		t.Run(version, func(t *testing.T) {
			i := newInstallation(t, startVersion(t, version, gates), "controller.enabled=true", "mock.profile=showcase")
			stop := i.startController(t)
			aClaim(t, i.admin, "good", onDevices("gpu-6"))
			aClaim(t, i.admin, "bad", onDevices("gpu-7"))
			if c := condition(t, i.admin, "good", "gpu-6", "", isAttached); c.Status != metav1.ConditionTrue {
				t.Errorf("gpu-6: %+v", c)
			}
			if c := condition(t, i.admin, "bad", "gpu-7", "", attachFailed); c.Status != metav1.ConditionTrue ||
				!strings.Contains(c.Message, "could not attach device gpu-7 to node node-a") {
				t.Errorf("gpu-7: %+v", c)
			}
			// One that waits takes over at once when the other ends, not when the lease runs out.
			first := i.leader(t)
			i.startController(t)
			stop()
			if now := i.leader(t); now == first {
				t.Errorf("%q has ended and has the lease still, as if it had died", first)
			}
			aClaim(t, i.admin, "later", onDevices("gpu-6"))
			condition(t, i.admin, "later", "gpu-6", "", isAttached)
			onlyItsEntries(t, i)
		})
	}
}

// leader is who has the lease of the controllers, empty if nobody has.
func (i *installation) leader(t *testing.T) string {
	t.Helper()
	lease, err := i.admin.CoordinationV1().Leases(namespace).Get(t.Context(), controllerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

// onlyItsEntries tries what somebody with the controller's token could do to the status of a claim.
func onlyItsEntries(t *testing.T, i *installation) {
	t.Helper()
	as := i.as(t).ResourceV1().ResourceClaims(metav1.NamespaceDefault)
	on := onDevices("gpu-6")
	on.Devices.Results = append(on.Devices.Results, resourceapi.DeviceRequestAllocationResult{
		Request: "gpu", Driver: "other.example.com", Pool: "node-a", Device: "nic-0"})
	aClaim(t, i.admin, "policy", on)
	entry := func(driver, device string) string {
		return fmt.Sprintf(`{"status":{"devices":[{"driver":%q,"pool":"node-a","device":%q,"data":{"a":"b"}}]}}`,
			driver, device)
	}
	for what, test := range map[string]struct{ patch, want string }{
		"its own entry":    {entry(fabricDriver, "gpu-6"), ""},
		"another driver's": {entry("other.example.com", "nic-0"), "may write the status of devices of driver gpu."},
		"the allocation":   {`{"status":{"allocation":null,"devices":null}}`, "may not change status.allocation"},
		"whom it is for": {`{"status":{"reservedFor":[{"resource":"pods","name":"p","uid":"u"}]}}`,
			"may not change status.reservedFor"},
		"nothing":  {`{"status":{}}`, ""},
		"its spec": {`{"metadata":{"labels":{"a":"b"}}}`, "-"},
	} {
		sub := []string{"status"}
		if test.want == "-" {
			sub = nil
		}
		_, err := as.Patch(t.Context(), "policy", types.MergePatchType, []byte(test.patch),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, sub...)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case test.want == "-" && !apierrors.IsForbidden(err):
			t.Errorf("%s: %v, expected that the right is missing", what, err)
		case len(test.want) > 1 && (err == nil || !strings.Contains(err.Error(), test.want) &&
			!strings.Contains(err.Error(), "changing status.")): // by the API server itself, since Kubernetes 1.36
			t.Errorf("%s: %v, expected a refusal with %s", what, err, test.want)
		}
	}
}
