package agreement

import (
	"bytes"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// Where everything with a namespace lies. It allows admin access.
const namespace = "questions"

// questionLabel is on all that belongs to a question, with its name.
const questionLabel = "agreement.example.com/question"

// question is what there is, and pods that want some of it, one after the other.
type question struct {
	name    string
	number  int
	nodes   []*corev1.Node
	slices  []*resourceapi.ResourceSlice
	classes []*resourceapi.DeviceClass
	rules   []*resourceapi.DeviceTaintRule
	// claims are those that others have, with a status, and those of the pods.
	claims    []*resourceapi.ResourceClaim
	templates []*resourceapi.ResourceClaimTemplate
	pods      []*corev1.Pod
}

// objects are those of the question in the order in which they are made; the pods are the last.
func (q *question) objects() (objects []runtime.Object) {
	for _, o := range q.nodes {
		objects = append(objects, o)
	}
	for _, o := range q.slices {
		objects = append(objects, o)
	}
	for _, o := range q.classes {
		objects = append(objects, o)
	}
	for _, o := range q.rules {
		objects = append(objects, o)
	}
	for _, o := range q.claims {
		objects = append(objects, o)
	}
	for _, o := range q.templates {
		objects = append(objects, o)
	}
	for _, o := range q.pods {
		objects = append(objects, o)
	}
	return objects
}

// yaml is the question as a file for kubectl and kubectl-dra.
func (q *question) yaml() (string, error) {
	var all bytes.Buffer
	for _, object := range q.objects() {
		kinds, _, err := scheme.Scheme.ObjectKinds(object)
		if err != nil {
			return "", fmt.Errorf("find the kind of %T: %w", object, err)
		}
		object = object.DeepCopyObject()
		object.GetObjectKind().SetGroupVersionKind(kinds[0])
		text, err := yaml.Marshal(object)
		if err != nil {
			return "", fmt.Errorf("write %T: %w", object, err)
		}
		all.WriteString("---\n")
		all.Write(text)
	}
	return all.String(), nil
}
