package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/manifest"
)

// exampleNames has what the examples of the help name, and what the recorded cluster does not have.
const exampleNames = `
{apiVersion: v1, kind: Pod, metadata: {name: train-1, namespace: default},
 spec: {resourceClaims: [{name: gpu, resourceClaimName: gpus}], containers: [{name: c, image: i}]}}
---
{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: gpus, namespace: team-a},
 spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.example.com}}]}}}
`

const examplePod = `
{apiVersion: v1, kind: Pod, metadata: {name: pod},
 spec: {resourceClaims: [{name: gpu, resourceClaimTemplateName: one}], containers: [{name: c, image: i}]}}
---
{apiVersion: resource.k8s.io/v1, kind: ResourceClaimTemplate, metadata: {name: one},
 spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.example.com}}]}}}}
`

// exampleFolder is a folder in which somebody can copy the examples of the help and run them, and exampleCluster the
// cluster that they look at.
func exampleFolder(t *testing.T) (folder string, exampleCluster *view.Cluster) {
	t.Helper()
	recorded, err := os.ReadFile("testdata/recorded/team/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cluster := string(recorded) + "\n---" + exampleNames
	folder = t.TempDir()
	for name, text := range map[string]string{
		"pod.yaml": examplePod, "claim.yaml": aClaim, "deploy/below/claim.yaml": aClaim, "other.yaml": cluster,
		"bundle.tar.gz": string(bundle(t, bundled{"cluster/all.yaml", cluster})), "stdin": aClaim,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var objects []runtime.Object
	for _, d := range manifest.Parse("cluster", []byte(cluster)) {
		objects = append(objects, d.Object)
	}
	if exampleCluster, err = view.FromObjects(objects); err != nil {
		t.Fatal(err)
	}
	return folder, exampleCluster
}

// TestTheExamplesOfTheHelpWork runs each of them in front of a cluster, as somebody does who copies it. Only --watch,
// which does not end, is tried elsewhere.
func TestTheExamplesOfTheHelpWork(t *testing.T) {
	folder, cluster := exampleFolder(t)
	server := apiServer(t, cluster)
	seen := make(map[string]bool)
	for _, c := range commands(t) {
		for _, line := range examples(c) {
			seen[line] = !strings.Contains(line, "--watch")
		}
	}
	t.Chdir(folder)
	for _, line := range slices.Sorted(maps.Keys(seen)) {
		if !seen[line] {
			continue
		}
		t.Run(line, func(t *testing.T) {
			stdin, err := os.Open("stdin")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close() }() // it was only read
			args := strings.Fields(strings.ReplaceAll(line, "--context staging", ""))[2:]
			if args[0] == "why" && !slices.Contains(args, "--from") {
				args = append(args, "--from", "other.yaml")
			}
			var out, said bytes.Buffer
			code := run(t.Context(), invocation{
				name: "kubectl-dra", args: append(args, "--server", server),
				streams: genericiooptions.IOStreams{In: stdin, Out: &out, ErrOut: &said},
			})
			if code == exitCannotTell || out.Len() == 0 {
				t.Errorf("it ends with %d, and says on stdout %q, on stderr %q", code, &out, &said)
			}
			if strings.HasPrefix(line, "kubectl dra devices") && !strings.Contains(line, "--parts") &&
				!strings.Contains(out.String(), "node-a") {
				t.Errorf("it shows no devices, but %q, and on stderr %q", &out, &said)
			}
		})
	}
	if files, err := filepath.Glob("dra-bundle-*.tar.gz"); err != nil || len(files) != 1 {
		t.Errorf("\"kubectl dra gather\" has left the bundles %v, error %v", files, err)
	}
}
