package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// patience is the limit of all waits; it is only used up when a test fails.
const patience = 30 * time.Second

// watch starts a kubelet when there is a registration socket.
func watch(t *testing.T, socket string) *kubelet.Kubelet {
	t.Helper()
	eventually(t, "there is a socket "+socket, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	k, err := kubelet.Watch(filepath.Dir(socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// register starts a kubelet and returns the plugin that registers with it.
func register(t *testing.T, p *runningProcess) *kubelet.Plugin {
	t.Helper()
	plugin, err := watch(t, p.registrar()).Registered(limit(t), "gpu.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return plugin
}

// claimed is the claim of that name as the kubelet knows it.
func claimed(name string) kubelet.Claim {
	return kubelet.Claim{Namespace: "team-a", Name: name, UID: types.UID("uid-of-" + name)}
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok, looking again and again since nothing tells of the change.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
