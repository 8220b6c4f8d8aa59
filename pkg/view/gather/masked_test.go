package gather

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"example.com/dragoman/pkg/view"
)

// leak is what no bundle may have.
const leak = "L3AK-me"

func TestNoTextHasASecret(t *testing.T) {
	for name, text := range map[string]string{
		"a header":                          "Authorization: Bearer L3AK-me",
		"a header of two words":             "Authorization: Digest username=x, response=L3AK-me",
		"a cookie":                          "Cookie: theme=dark; session=L3AK-me",
		"a cookie's header in quotes":       `"Set-Cookie":"a=b; session=L3AK-me"`,
		"several words after a password":    "password: my long L3AK-me words",
		"words of a message in a string":    `msg="login: password: my L3AK-me words"`,
		"a value with commas":               "password=a,b;L3AK-me user=x",
		"an escaped quote":                  `{"password":"ab\"L3AK-me tail"}`,
		"JSON in a string":                  `body="{\"apiKey\": \"ab\\\"L3AK-me\"}"`,
		"a backslash before the quote":      `{"password":"L3AK-me\\","next":"x"}`,
		"a string that does not end":        `{"password":"L3AK-me`,
		"single quotes":                     `{'passwd': 'a L3AK-me'}`,
		"a name and a value":                `{"name":"DB_PASSWORD","value":"L3AK-me"}`,
		"a name and a value of YAML":        "- name: DB_PASSWORD\n  value: L3AK-me\n",
		"a name and a value as Go shows it": `EnvVar{Name:DB_PASSWORD,Value:L3AK-me,ValueFrom:nil,}`,
		"a variable as Go prints it":        `env=[{MODE fast nil} {DB_PASSWORD L3AK-me nil}]`,
		"a list":                            "tokens=[A L3AK-me]",
		"a list of strings":                 `{"tokens":["A","L3AK-me"]}`,
		"a map":                             `token: {value: L3AK-me}`,
		"a map in a map":                    `{"credentials":{"a":{"b":1},"c":"L3AK-me"}}`,
		"a bracket in a string in a map":    `{"credentials":{"a":"}","c":"L3AK-me"}}`,
		"a map as Go prints it":             "map[password:L3AK-me user:x]",
		"a number":                          "password: 1L3AK-me",
		"a list over lines":                 "tokens:\n- A\n- L3AK-me\nnext: 1",
		"a block of lines":                  "x:\n  password: |\n    A\n    L3AK-me\n  y: 1\n",
		"JSON over lines":                   "{\n  \"tokens\": [\n    \"L3AK-me\"\n  ]\n}\n",
		"auth":                              `{"auths":{"registry.example.com":{"auth":"L3AK-me"}}}`,
		"a short name":                      "DB_PASS=L3AK-me PGPASS=L3AK-me sig=L3AK-me basicAuth: L3AK-me",
		"keys":                              "AccountKey=L3AK-me;license-key: L3AK-me encryption_key=L3AK-me sessionKey=L3AK-me",
		"a connection":                      "--conn=Endpoint=x;AccountKey=L3AK-me==;Suffix=y",
		"a URL's parameter":                 "GET https://x.example.com/a?sv=1&sig=L3AK-me&b=c",
		"a URL's user":                      "https://me:p@ss:L3AK-me@host/x",
		"a signature":                       "AWS4-HMAC-SHA256 Credential=L3AK-me/x, SignedHeaders=host, Signature=L3AK-me",
		"a flag":                            "run --auth L3AK-me",
		"a flag with quotes":                `args=["--password","L3AK-me"]`,
		"a flag's value":                    "--dockercfg={\"auth\":\"L3AK-me\"} --pass=L3AK-me",
		"a private key":                     "-----BEGIN EC PRIVATE KEY-----\nL3AK-me\n-----END EC PRIVATE KEY-----\n",
		"a token by its look":               "using nvapi-L3AK-me-0123456789abcdef and ghp_L3AK0me0123456789abcdef L3AK",
	} {
		t.Run(name, func(t *testing.T) {
			got := maskString(text)
			if strings.Contains(strings.ToUpper(got), "L3AK-ME") || !strings.Contains(got, masked) {
				t.Errorf("%s\nbecomes\n%s", text, got)
			}
			if again := maskString(got); again != got {
				t.Errorf("%s\nbecomes\n%s\nand then\n%s", text, got, again)
			}
		})
	}
}

func TestTextThatTellsOfTroubleStaysAsItIs(t *testing.T) {
	for _, text := range []string{
		`0/3 nodes are available: 3 cannot allocate all claims. preemption: 0/3 nodes are available`,
		`I1123 10:00:00.123456       1 prepare.go:45] "Prepared" claim="team-a/train-0" uid="0a1b-2c3d" device="gpu-0" dur="4ms"`,
		`E1123 10:00:00.123456       1 token.go:45] "no device" err="open /dev/nvidia0: no such file or directory"`,
		`{"level":"info","ts":1.5,"msg":"published","pool":"node-a","devices":8,"generation":3}`,
		`Error: device gpu-3 is held by claim team-a/train-0-gpu (uid 0a1b); see "kubectl dra devices"`,
		`secrets "db-password" is forbidden: User "system:serviceaccount:dra:driver" cannot get resource "secrets"`,
		`dragoman_devices{state="free"} 3`,
		`GPU-5d1c7a3e-7c1d-4c64-9d4a-000000000000 at 0000:65:00.0: XID 79, the GPU has fallen off the bus`,
		`NodePrepareResources failed for ResourceClaim train-0: rpc error: code = Unknown desc = strategy: Unsupported value`,
		`--kubeconfig=/etc/kube/config --v=4 --token-file=/var/run/token --node-name node-a`,
		`cel: device.attributes["gpu.example.com"].model == "H100"`,
		`author: me, authority: none, bypass=yes, compass: north, signal: terminated, passthrough: on`,
		"a bearer of news",
	} {
		if got := maskString(text); got != text {
			t.Errorf("%s\nbecomes\n%s", text, got)
		}
	}
}

func TestAddressesAreMaskedInText(t *testing.T) {
	isName := func(text string) bool { return text == "192.0.2.7" }
	for text, want := range map[string]string{
		"dial tcp 10.96.0.1:443: connect: refused":     "dial tcp [address]:443: connect: refused",
		`Get "http://[fd00::1]:8080/healthz": refused`: `Get "http://[[address]]:8080/healthz": refused`,
		"from fe80::1:":                                   "from [address]:",
		"route 10.0.0.0/8 via 192.0.2.1.":                 "route [address]/8 via [address].",
		"node 192.0.2.7 has gone":                         "node 192.0.2.7 has gone",
		"on 127.0.0.1:8080, [::1]:8080 and 0.0.0.0":       "on 127.0.0.1:8080, [::1]:8080 and 0.0.0.0",
		"driver 580.95.5.1, library 1.2.3.4.5 and v1.2.3": "driver 580.95.5.1, library 1.2.3.4.5 and v1.2.3",
		"gpu at 0000:65:00.0 at 12:00:00.5, std::map":     "gpu at 0000:65:00.0 at 12:00:00.5, std::map",
	} {
		if got := maskAddresses(text, isName); got != want {
			t.Errorf("%q becomes\n%q, and not\n%q", text, got, want)
		}
	}
}

func opaque(parameters string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: "gpu.example.com", Parameters: runtime.RawExtension{Raw: []byte(parameters)},
	}}
}

func TestNoObjectHasASecret(t *testing.T) {
	message := []metav1.Condition{{Type: "Ready", Message: "password=L3AK-me"}}
	pod := func(c corev1.Container) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "driver"}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
	}
	arguments := func(args ...string) *corev1.Pod { return pod(corev1.Container{Name: "c", Args: args}) }
	claim := func(parameters string) *resourceapi.ResourceClaim {
		return &resourceapi.ResourceClaim{Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{
			Config: []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: opaque(parameters)}},
		}}}
	}
	annotated := func(text string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"spec": text}}}
	}
	for name, object := range map[string]runtime.Object{
		"in the condition of a pod": &corev1.Pod{Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Message: "password=L3AK-me"}},
		}},
		"in the condition of a claim's device": &resourceapi.ResourceClaim{Status: resourceapi.ResourceClaimStatus{
			Devices: []resourceapi.AllocatedDeviceStatus{{Conditions: message}},
		}},
		"in what a container says at its end": &corev1.Pod{Status: corev1.PodStatus{
			ContainerStatuses: []corev1.ContainerStatus{{LastTerminationState: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{Message: `{"token":"L3AK-me"}`},
			}}},
		}},
		"in an event":                       &corev1.Event{Message: "token: L3AK-me"},
		"in an argument after its flag":     arguments("--auth", "L3AK-me"),
		"in an argument of words":           arguments("--password=my long L3AK-me words", "--pass=L3AK-me"),
		"in an argument that is a key":      arguments("--license-key=L3AK-me", "--conn=x;AccountKey=L3AK-me"),
		"in an argument that is JSON":       arguments(`--dockercfg={"auth":"L3AK-me"}`, `{"token":"L3AK-me"}`),
		"in a variable":                     pod(corev1.Container{Env: []corev1.EnvVar{{Name: "PGPASS", Value: "L3AK-me"}}}),
		"in a map of a configuration":       claim(`{"token":{"value":"L3AK-me"},"tokens":["L3AK-me"]}`),
		"in a pair of a configuration":      claim(`{"env":[{"value":"L3AK-me","name":"API_TOKEN"}]}`),
		"in a string of a configuration":    claim(`{"run":"app --password L3AK-me"}`),
		"in JSON of an annotation":          annotated(`{"spec":{"env":[{"value":"L3AK-me","name":"DB_PASSWORD"}]}}`),
		"in YAML of an annotation":          annotated("env:\n- name: DB_PASSWORD\n  value: L3AK-me\n"),
		"in JSON in a string of JSON":       annotated(`{"a":"{\"token\":\"L3AK-me\"}"}`),
		"in an annotation with such a name": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"x/auth-token": leak}}},
		"in a label with such a name":       &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"password": leak}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, full := range []bool{false, true} {
				g := gatheringOf(&view.Cluster{}, full)
				text, err := g.document(g.trim(object.DeepCopyObject()))
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(text), leak) {
					t.Errorf("with full=%t it is there:\n%s", full, text)
				}
			}
		})
	}
}

// gatheringOf is one that masks what a cluster has, with a driver's pod that has the UID "driver".
func gatheringOf(c *view.Cluster, full bool) *gathering {
	report := &Report{Cluster: c, Drivers: []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{UID: "driver"}}}}
	return &gathering{report: report, trimmer: newTrimmer(report, full), masker: newMasker(c, full)}
}

func (g *gathering) trim(o runtime.Object) runtime.Object {
	switch o := o.(type) {
	case *corev1.Pod:
		return g.trimmer.pod(o)
	case *resourceapi.ResourceClaim:
		return g.trimmer.claim(o)
	case *corev1.Event:
		return g.trimmer.event(o)
	}
	return o
}
