package apiserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// limited is a context that a hanging test does not outlive.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	return ctx
}

// temporaries makes an empty folder the one for temporary files.
func temporaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%s has %v (%v), expected nothing", dir, left, err)
	}
}

func ask(t *testing.T, kubeconfig string) string {
	t.Helper()
	response, err := get(t, kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// die makes the fake kube-apiserver end, which it does instead of an answer.
func die(t *testing.T, kubeconfig string) {
	t.Helper()
	if response, err := get(t, kubeconfig, "/die"); err == nil {
		_ = response.Body.Close()
		t.Fatal("it lives on")
	}
}

func get(t *testing.T, kubeconfig, path string) (*http.Response, error) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Get(config.Host + path)
}

func TestAServerIsReadyWhenStartReturnsAndLeavesNothing(t *testing.T) {
	dir := temporaries(t)
	server, err := apiserver.Start(limited(t), apiserver.Options{Programs: fakes(t)})
	if err != nil {
		t.Fatal(err)
	}
	if said := ask(t, server.Kubeconfig); said != "dra-sanity [system:masters]" {
		t.Errorf("the kubeconfig makes a client %s", said)
	}
	other, err := server.KubeconfigAs("system:serviceaccount:ns:driver", "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if said := ask(t, other); said != "system:serviceaccount:ns:driver [a b]" {
		t.Errorf("the other kubeconfig makes a client %s", said)
	}
	if err := server.Err(); err != nil {
		t.Errorf("both servers run, but: %v", err)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	expectEmpty(t, dir)
	expectNobodyListens(t, server.URL)
	if err := server.Stop(); err != nil {
		t.Errorf("stop it again: %v", err)
	}
}

func expectNobodyListens(t *testing.T, server string) {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", at.Host); err == nil {
		t.Errorf("somebody still listens at %s", connection.RemoteAddr())
		_ = connection.Close()
	}
}

func TestAGivenFolderIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), "a")
	server, err := apiserver.Start(limited(t), apiserver.Options{Programs: fakes(t), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"etcd.log", "kube-apiserver.log"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may enter the folder, and so etcd: %v, %v", info, err)
	}
}

func TestAStartThatDoesNotWorkSaysWhyAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		behave []string
		bound  time.Duration
		want   []string
	}{
		"etcd dies": {[]string{etcdDies}, time.Minute,
			[]string{"wait for etcd", "etcd has ended: exit status 1", "line 39\n", "member has already been bootstrapped"}},
		"etcd never listens": {[]string{etcdIsMute}, 200 * time.Millisecond,
			[]string{"wait for etcd", "deadline exceeded", "no such file"}},
		"kube-apiserver dies": {[]string{apiDies}, time.Minute,
			[]string{"kube-apiserver has ended: exit status 1", "unknown feature gate NoSuchGate=true"}},
		"kube-apiserver is never ready": {[]string{neverReady}, time.Second,
			[]string{"kube-apiserver", "deadline exceeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := temporaries(t)
			ctx, stop := context.WithTimeout(t.Context(), c.bound)
			defer stop()
			_, err := apiserver.Start(ctx, apiserver.Options{
				Programs: fakes(t, c.behave...), FeatureGates: "NoSuchGate=true",
			})
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "line 1\n") {
				t.Errorf("more than the end of the log: %v", err)
			}
			expectEmpty(t, dir)
			expectNoChildren(t)
		})
	}
}

// expectNoChildren checks that this process has none, not even one that has ended and nobody has waited for.
func expectNoChildren(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("there are processes left (%d, %v)", pid, err)
	}
}

func TestAMissingProgramIsNamed(t *testing.T) {
	dir := temporaries(t)
	programs := fakes(t)
	programs.APIServer = "/nowhere/kube-apiserver"
	_, err := apiserver.Start(limited(t), apiserver.Options{Programs: programs})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/kube-apiserver") {
		t.Errorf("got %v", err)
	}
	expectEmpty(t, dir)
	expectNoChildren(t)
}

func TestAServerThatDiesIsNoticed(t *testing.T) {
	server, err := apiserver.Start(limited(t), apiserver.Options{Programs: fakes(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	_ = ask(t, server.Kubeconfig)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if answered(server.URL, 200*time.Millisecond) {
		t.Error("a paused server answers")
	}
	if err := server.Continue(); err != nil {
		t.Fatal(err)
	}
	_ = ask(t, server.Kubeconfig)
	die(t, server.Kubeconfig)
	ended := limited(t)
	for server.Err() == nil && ended.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := server.Err(); err == nil || !strings.Contains(err.Error(), "kube-apiserver has ended: exit status 3") {
		t.Errorf("got %v", err)
	}
	if err := server.Pause(); err == nil {
		t.Error("a dead server was paused")
	}
}

func answered(server string, within time.Duration) bool {
	client := http.Client{Timeout: within}
	_, err := client.Get(server)
	return err == nil || !strings.Contains(err.Error(), "Client.Timeout")
}
