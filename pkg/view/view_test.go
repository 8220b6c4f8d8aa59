package view

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// parse returns the objects of YAML documents.
func parse(text []byte) ([]runtime.Object, error) {
	var objects []runtime.Object
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 1024); ; {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if u.Object != nil {
			objects = append(objects, u)
		}
	}
}

// cluster is what YAML says of one.
func cluster(t testing.TB, text string) *Cluster {
	t.Helper()
	objects, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromObjects(objects)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// recorded is a cluster of testdata.
func recorded(t testing.TB, name string) *Cluster {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return cluster(t, string(text))
}

// listing is what there is of devices in the cluster.
func listing(t testing.TB, c *Cluster, o DeviceOptions) Listing {
	t.Helper()
	l, err := Devices(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// row finds a device by node and name, where these are enough.
func row(t testing.TB, l Listing, node, device string) Row {
	t.Helper()
	for _, r := range l.Devices {
		if r.Node == node && r.Device == device {
			return r
		}
	}
	t.Fatalf("no device %s on node %q", device, node)
	return Row{}
}
