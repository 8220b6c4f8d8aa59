package cluster

import (
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// admissionOfConfigurations is about what the driver would refuse when a pod starts, refused when it is written.
func admissionOfConfigurations() types.Feature {
	const folder = "20-refused-when-created"
	s := newScene("dragoman-20", 1)
	// As at prepare; see the example of device configurations.
	const sentence = `opaque.parameters.sharing.strategy: Unsupported value: "TimeSlice": supported values: ` +
		`"TimeSlicing", "SpacePartitioning", "MPS", "Exclusive"`
	return features.New(folder).Setup(s.applied(folder)).
		Assess("what is right is taken", assess(func(t *testing.T) {
			s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
		})).
		Assess("what is wrong is refused, with the sentence that the pod would have said", assess(func(t *testing.T) {
			for file, expected := range map[string]string{
				"claim.yaml":    "spec.devices.config[0]." + sentence,
				"template.yaml": "spec.spec.devices.config[0]." + sentence,
			} {
				err := s.applyFiles(t.Context(), filepath.Join(folder, "refused"), file)
				if err == nil || !strings.Contains(err.Error(), expected) {
					t.Errorf("of %s it says: %v\nexpected: %s", file, err, expected)
				}
			}
		})).
		Assess("neither is there", assess(func(t *testing.T) {
			_, err := client.ResourceV1().ResourceClaims(s.namespace).Get(t.Context(), "misspelt", metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				t.Errorf("asked for the claim, it says: %v", err)
			}
			_, err = client.ResourceV1().ResourceClaimTemplates(s.namespace).Get(t.Context(), "misspelt", metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				t.Errorf("asked for the template, it says: %v", err)
			}
		})).
		Assess("what is right can be changed", assess(func(t *testing.T) {
			templates := client.ResourceV1().ResourceClaimTemplates(s.namespace)
			template, err := templates.Get(t.Context(), "right", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			template.Annotations = map[string]string{"example.com/touched": "true"}
			if _, err := templates.Update(t.Context(), template, metav1.UpdateOptions{}); err != nil {
				t.Errorf("annotate it: %v", err)
			}
		})).Feature()
}
