package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TooOldError says that the API server does not serve the version of the DRA API that Kubernetes has since 1.34.
type TooOldError struct {
	// Version is what the server calls itself; empty if it does not say.
	Version string
	// Serves are the versions of resource.k8s.io that it has.
	Serves []string
}

func (e *TooOldError) Error() string {
	name := "this API server"
	if e.Version != "" {
		name += " (" + e.Version + ")"
	}
	has := "no version of it"
	if len(e.Serves) > 0 {
		has = "only " + strings.Join(e.Serves, ", ")
	}
	return fmt.Sprintf("%s does not serve resource.k8s.io/v1, which Kubernetes has since 1.34: it serves %s", name, has)
}

func (c *Collector) tooOld(ctx context.Context, version string) error {
	var group metav1.APIGroup
	// A server that does not say what it serves does not serve anything, as far as this sentence goes.
	_ = c.readJSON(ctx, "/apis/"+resourceapi.GroupName, &group)
	e := &TooOldError{Version: version}
	for _, v := range group.Versions {
		e.Serves = append(e.Serves, v.Version)
	}
	slices.Sort(e.Serves)
	return e
}

// serves says whether the server has that resource in that version. It is asked where rights hide it. In doubt it has.
func (c *Collector) serves(ctx context.Context, what schema.GroupVersionResource) bool {
	if what.Group == "" {
		return true
	}
	var has metav1.APIResourceList
	if err := c.readJSON(ctx, "/apis/"+what.GroupVersion().String(), &has); err != nil {
		return !apierrors.IsNotFound(err)
	}
	return slices.ContainsFunc(has.APIResources, func(r metav1.APIResource) bool { return r.Name == what.Resource })
}

// Read asks the API server for what has no list: a path such as "/metrics" or that of a pod's log, with parameters. The
// caller closes the answer.
//
// It only reads, and refuses paths that name Secrets.
func (c *Collector) Read(ctx context.Context, path string, parameters url.Values) (io.ReadCloser, error) {
	if slices.Contains(strings.Split(path, "/"), "secrets") {
		return nil, fmt.Errorf("read %s: Secrets are never read", path)
	}
	request := c.core.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json, */*")
	for name, values := range parameters {
		for _, value := range values {
			request.Param(name, value)
		}
	}
	answer, err := request.Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return answer, nil
}

// maxDocument is more than any answer has that is read as a whole.
const maxDocument = 1 << 20

func (c *Collector) readJSON(ctx context.Context, path string, into any) error {
	answer, err := c.Read(ctx, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // nothing is written
	data, err := io.ReadAll(io.LimitReader(answer, maxDocument))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
