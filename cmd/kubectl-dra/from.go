package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/manifest"
)

// read returns the cluster that the files of --from hold: the objects of all of them together.
func (s *session) read() (*view.Cluster, error) {
	var documents []manifest.Document
	var more look
	for _, path := range s.from {
		found, with, err := s.readPath(path)
		if err != nil {
			return nil, fmt.Errorf("read --from %s: %w", path, err)
		}
		documents = append(documents, found...)
		if with != nil {
			more.Version = with.Version
			more.Unseen = append(more.Unseen, with.Unseen...)
		}
	}
	objects, err := s.objects(documents)
	if err != nil {
		return nil, err
	}
	cluster, err := view.FromObjects(objects)
	var others *view.OtherKindsError
	switch {
	case errors.As(err, &others):
		s.say("Left out, because they do not tell of devices: %s", strings.Join(others.Kinds, ", "))
	case err != nil:
		return nil, err
	}
	if len(cluster.Slices)+len(cluster.Claims)+len(cluster.Pods)+len(cluster.Classes) == 0 {
		return nil, fmt.Errorf("read --from %s: there is no ResourceSlice, DeviceClass, ResourceClaim or Pod in it; "+
			"\"%s gather\" and \"kubectl get -o yaml\" write files that have them", strings.Join(s.from, ", "), s.name)
	}
	cluster.Version, cluster.Unseen = more.Version, more.Unseen
	return cluster, nil
}

// readPath returns what is in a file, a folder or stdin, and if it is a bundle what that knows beside objects.
func (s *session) readPath(path string) ([]manifest.Document, *look, error) {
	if path == "-" {
		stdin := bufio.NewReader(s.streams.In)
		if isBundle(stdin) {
			return readBundle(stdin)
		}
		documents, err := manifest.Read([]string{path}, true, stdin)
		return documents, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		file, err := os.Open(path)
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = file.Close() }() // it was only read
		if reader := bufio.NewReader(file); isBundle(reader) {
			return readBundle(reader)
		}
	}
	documents, err := manifest.Read([]string{path}, true, s.streams.In)
	return documents, nil, err
}

// isBundle says whether what follows is compressed as bundles are. Manifests never begin like that.
func isBundle(r *bufio.Reader) bool {
	magic, err := r.Peek(2)
	return err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b})
}

// objects are those of the documents that could be read. A document of which too little is left is an error; fields
// that are not known here, of a newer release perhaps, are left out and said.
func (s *session) objects(documents []manifest.Document) ([]runtime.Object, error) {
	var objects []runtime.Object
	unknown := make(map[string]int)
	strange := make(map[string]bool)
	for _, d := range documents {
		switch {
		case d.Object == nil && len(d.Problems) > 0:
			p := d.Problems[0]
			return nil, fmt.Errorf("read --from: %s:%d: %s", d.Source, p.Line, strings.TrimPrefix(p.Path+": "+p.Message, ": "))
		case d.Object == nil:
			strange[d.Kind.GroupVersion().String()+" "+d.Kind.Kind] = true
		default:
			objects = append(objects, d.Object)
			if len(d.Problems) > 0 {
				unknown[d.Source] += len(d.Problems)
			}
		}
	}
	for _, source := range sorted(unknown) {
		s.say("%s has fields that are not known here (%d); the answer is without them.", source, unknown[source])
	}
	if len(strange) > 0 {
		s.say("Left out, because they do not tell of devices: %s", strings.Join(sorted(strange), ", "))
	}
	return objects, nil
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// errTooLarge says that a bundle would not fit into memory.
var errTooLarge = errors.New("it is larger than any bundle should be: more than 1 GiB")

// limited reads no more than what is left of the bytes for a whole bundle.
type limited struct {
	from io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
