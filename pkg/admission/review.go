package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/claim"
)

// Reviewer judges configurations of one driver.
type Reviewer struct {
	// DriverName selects the configurations.
	DriverName string
	// Decode and Default are those of [claim.Options].
	Decode  func(raw []byte, at *field.Path) (runtime.Object, field.ErrorList)
	Default func() runtime.Object
}

// answer returns the answer to an AdmissionReview, both as JSON, and what it says. The error means that the question
// makes no sense.
func (r Reviewer) answer(question []byte) ([]byte, *admissionv1.AdmissionResponse, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(question, &review); err != nil {
		return nil, nil, fmt.Errorf("read the AdmissionReview: %w", err)
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" {
		return nil, nil, fmt.Errorf("read the AdmissionReview: it is apiVersion %.80q, kind %.80q, expected %q, %q",
			review.APIVersion, review.Kind, admissionv1.SchemeGroupVersion, "AdmissionReview")
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, nil, errors.New("read the AdmissionReview: it has no request with a uid")
	}
	problems, err := r.problems(review.Request)
	if err != nil {
		return nil, nil, err
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: problems == nil}
	if problems != nil {
		response.Result = status(problems)
	}
	encoded, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		return nil, nil, fmt.Errorf("write the AdmissionReview: %w", err)
	}
	return encoded, response, nil
}

// status is a refusal as kubectl shows it in one line. Programs find the fields in the causes.
func status(problems *claim.ConfigError) *metav1.Status {
	s := &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusBadRequest, Reason: metav1.StatusReasonBadRequest,
		Message: problems.Error(), Details: &metav1.StatusDetails{},
	}
	for _, p := range problems.Problems {
		s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{
			Type: metav1.CauseType(p.Detail.Type), Message: p.Detail.ErrorBody(), Field: p.Detail.Field,
		})
	}
	return s
}

// problems says what is wrong with the configurations of the object, nil if nothing is or if it is none of our concern.
func (r Reviewer) problems(request *admissionv1.AdmissionRequest) (*claim.ConfigError, error) {
	if request.Kind.Group != resourceapi.GroupName || request.Kind.Version != resourceapi.SchemeGroupVersion.Version ||
		request.SubResource != "" ||
		(request.Operation != admissionv1.Create && request.Operation != admissionv1.Update) {
		return nil, nil
	}
	switch request.Kind.Kind {
	case "ResourceClaim":
		object, old, err := objects[resourceapi.ResourceClaim](request)
		if err != nil || old != nil && equality.Semantic.DeepEqual(object.Spec, old.Spec) {
			return nil, err
		}
		return r.review(object), nil
	case "ResourceClaimTemplate":
		object, old, err := objects[resourceapi.ResourceClaimTemplate](request)
		if err != nil || old != nil && equality.Semantic.DeepEqual(object.Spec, old.Spec) {
			return nil, err
		}
		return r.review(object), nil
	case "DeviceClass":
		object, old, err := objects[resourceapi.DeviceClass](request)
		if err != nil || old != nil && equality.Semantic.DeepEqual(object.Spec, old.Spec) {
			return nil, err
		}
		if object.Name == "" {
			object.Name = request.Name
		}
		return r.review(object), nil
	}
	return nil, nil
}

// objects reads what is to be stored, and what is stored if it is an update.
func objects[T any](request *admissionv1.AdmissionRequest) (object, old *T, err error) {
	object = new(T)
	if err := json.Unmarshal(request.Object.Raw, object); err != nil {
		return nil, nil, fmt.Errorf("read the object of the AdmissionReview: %w", err)
	}
	if request.Operation != admissionv1.Update {
		return object, nil, nil
	}
	old = new(T)
	if err := json.Unmarshal(request.OldObject.Raw, old); err != nil {
		return nil, nil, fmt.Errorf("read the old object of the AdmissionReview: %w", err)
	}
	return object, old, nil
}

// review asks the function that prepare asks.
func (r Reviewer) review(object runtime.Object) *claim.ConfigError {
	return claim.Review(object, claim.Options{DriverName: r.DriverName, Decode: r.Decode, Default: r.Default})
}
