package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestWhoMaySeeNothingReadsTheRightsThatAreMissing(t *testing.T) {
	forbidden := func(group, resource, name string) error {
		of := schema.GroupResource{Group: group, Resource: resource}
		return apierrors.NewForbidden(of, name, fmt.Errorf("User %q cannot list resource %q", "jane", resource))
	}
	lists := []error{
		forbidden("", "events", ""), forbidden("", "events", ""), forbidden("", "nodes", ""),
		fmt.Errorf("list: %w", forbidden("resource.k8s.io", "resourceslices", "")),
	}
	s := newSession(invocation{streams: genericiooptions.NewTestIOStreamsDiscard()})
	for name, c := range map[string]struct {
		errs []error
		want string
	}{
		"lists": {lists, `events is forbidden: User "jane" cannot list resource "events"
Rights that are missing: list events, list nodes, list resourceslices.resource.k8s.io.`},
		"a pod by its name, among them": {append(lists, forbidden("", "pods", "a")), `pods "a" is forbidden: User "jane" ` +
			`cannot list resource "pods"
Rights that are missing: get pods, list events, list nodes, list resourceslices.resource.k8s.io.`},
		"one, of which the server says little": {
			[]error{&apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonForbidden, Message: "no"}}}, "no",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := fmt.Errorf("look at the cluster: this user may see nothing: %w", errors.Join(c.errs...))
			want := "error: look at the cluster: this user may see nothing: " + c.want
			if got := strings.Join(s.explain(t.Context(), &cobra.Command{}, err), "\n"); got != want {
				t.Errorf("it says\n%s\nwant\n%s", got, want)
			}
		})
	}
}
