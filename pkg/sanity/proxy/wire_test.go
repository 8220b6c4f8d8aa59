package proxy

import (
	"encoding/pem"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// overAWire leads a client to a server over a wire; the server's name is the one in its certificate.
func overAWire(t *testing.T, delay time.Duration) (*Wire, *fakeServer, kubernetes.Interface) {
	t.Helper()
	server := newFakeServer(t)
	config := clientcmdapi.NewConfig()
	config.Clusters["a"] = &clientcmdapi.Cluster{
		Server:                   server.URL,
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	config.AuthInfos["a"] = &clientcmdapi.AuthInfo{Token: "the caller's"}
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a", AuthInfo: "a"}
	config.CurrentContext = "a"
	near, far := filepath.Join(t.TempDir(), "near"), filepath.Join(t.TempDir(), "far")
	if err := clientcmd.WriteToFile(*config, near); err != nil {
		t.Fatal(err)
	}
	w, err := StartWire(near, delay, far)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	led, err := clientcmd.BuildConfigFromFlags("", far)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := url.Parse(led.Host); err != nil || at.Host == strings.TrimPrefix(server.URL, "https://") {
		t.Fatalf("%v: the kubeconfig still leads to %s", err, led.Host)
	}
	led.QPS = -1 // the wire is slow enough
	client, err := kubernetes.NewForConfig(led)
	if err != nil {
		t.Fatal(err)
	}
	return w, server, client
}

func TestWhatComesOverAWireComesLaterAndWhole(t *testing.T) {
	const delay = 30 * time.Millisecond
	_, server, client := overAWire(t, delay)
	get := func() time.Duration {
		began := time.Now()
		pod, err := client.CoreV1().Pods("default").Get(t.Context(), "a", metav1.GetOptions{})
		if err != nil || pod.Name != "a" {
			t.Fatalf("%v: the answer is %v", err, pod)
		}
		return time.Since(began)
	}
	if got := get(); got < delay {
		t.Errorf("a request took %v, expected at least %v", got, delay)
	}
	if token := server.got.Load().Header.Get("Authorization"); token != "Bearer the caller's" {
		t.Errorf("the server is asked by %q, expected the caller", token)
	}
	// Those that are made at once are late together, not one after the other.
	began, done := time.Now(), make(chan bool)
	const several = 50
	for range several {
		go func() {
			get()
			done <- true
		}()
	}
	for range several {
		<-done
	}
	if took := time.Since(began); took > several*delay/2 {
		t.Errorf("%d requests at once took %v: each waits for those before it", several, took)
	}
}

func TestPiecesAreLateTogetherAndNotOneAfterTheOther(t *testing.T) {
	synctest.Test(t, piecesAreLateTogether)
}

func piecesAreLateTogether(t *testing.T) {
	const delay, several = 30 * time.Millisecond, 40
	w := &Wire{delay: delay}
	server, serverEnd := net.Pipe()
	arrived, driver := net.Pipe()
	go w.late(driver, serverEnd)
	began := time.Now()
	go func() {
		for range several {
			_, _ = server.Write([]byte("piece ")) // each is read by itself
		}
	}()
	all := make([]byte, several*len("piece "))
	if _, err := io.ReadFull(arrived, all); err != nil || string(all) != strings.Repeat("piece ", several) {
		t.Fatalf("%v: what arrived is %q", err, all)
	}
	if took := time.Since(began); took < delay || took > several*delay/2 {
		t.Errorf("%d pieces took %v, expected not much more than %v", several, took, delay)
	}
	_, _ = server.Close(), arrived.Close()
	w.running.Wait()
}

func TestAWireKeepsTheNameOfTheServer(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody connects
	cases := map[string]struct {
		cluster      clientcmdapi.Cluster
		upstream     string
		name, scheme string
		path         string
	}{
		"a name":                 {clientcmdapi.Cluster{Server: "https://a.test"}, "a.test:443", "a.test", "https", ""},
		"a port and a path":      {clientcmdapi.Cluster{Server: "https://a:6443/k8s/x"}, "a:6443", "a", "https", "/k8s/x"},
		"another name to expect": {clientcmdapi.Cluster{Server: "https://a:1", TLSServerName: "b"}, "a:1", "b", "https", ""},
		"an address":             {clientcmdapi.Cluster{Server: "https://[::1]:1"}, "[::1]:1", "::1", "https", ""},
		"without encryption":     {clientcmdapi.Cluster{Server: "http://a"}, "a:80", "", "http", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := &Wire{listener: listener}
			if err := w.lead(&c.cluster); err != nil {
				t.Fatal(err)
			}
			want := c.scheme + "://" + listener.Addr().String() + c.path
			if c.cluster.Server != want || c.cluster.TLSServerName != c.name || w.upstream != c.upstream {
				t.Errorf("it leads to %s as %q and on to %s, expected %s, %q and %s", c.cluster.Server, c.cluster.TLSServerName,
					w.upstream, want, c.name, c.upstream)
			}
		})
	}
}

func TestAWireThatIsClosedCarriesNothing(t *testing.T) {
	w, server, client := overAWire(t, time.Millisecond)
	watching, err := client.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server.events <- "b"
	if event := <-watching.ResultChan(); event.Object == nil {
		t.Fatalf("the watch says %v", event)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-watching.ResultChan(); open {
		t.Error("a watch goes on over a wire that is closed")
	}
	if _, err := client.CoreV1().Pods("default").Get(t.Context(), "a", metav1.GetOptions{}); err == nil {
		t.Error("a request is answered over a wire that is closed")
	}
	if err := w.Close(); err != nil {
		t.Errorf("a wire that is closed is closed again: %v", err)
	}
}

func TestAWireNeedsAKubeconfig(t *testing.T) {
	_, err := StartWire("/nowhere/config", time.Millisecond, filepath.Join(t.TempDir(), "far"))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/config") {
		t.Errorf("it is %v", err)
	}
}
