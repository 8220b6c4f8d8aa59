package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
	"example.com/dragoman/pkg/view/why"
)

const whyLong = `Say why a pod or a claim waits for devices, or why it got the ones it has.

The answer comes from the scheduler's own allocator, on what the cluster holds now. For each request it says, node by
node, how many devices there are and what they were lost to: the class, each selector (with what the devices have
where it looks, and what was probably meant), other users, capacity, counters, taints, constraints. Then it says what
would help; each of these changes was tried with the allocator, unless there is a "see whether" in it.

What comes before and after the choice of devices is looked at, too: claims and templates that are missing, the label
for admin access, a scheduler that does not answer, a driver that is not registered, or cannot make devices ready.

Processors, memory and what else pods need is not judged: what the scheduler says of it is quoted.`

const whyExample = `  # Why does this pod wait?
  kubectl dra why pod/train-1

  # A claim, in another namespace
  kubectl dra why claim/gpus -n team-a

  # For a program
  kubectl dra why pod/train-1 -o json

  # In a bundle that somebody has sent
  kubectl dra why pod/train-1 --from bundle.tar.gz`

// newWhyCommand returns "why".
func newWhyCommand(s *session) *cobra.Command {
	format := newOutputFormat("text", "json", "yaml")
	command := &cobra.Command{
		Use:               "why (pod/NAME | claim/NAME)",
		Short:             "Why a pod or a claim waits for devices, or got those it has",
		Long:              whyLong,
		Example:           whyExample,
		Args:              cobra.ArbitraryArgs, // whyArguments says what is wrong with them
		ValidArgsFunction: s.completePodsAndClaims,
		RunE: func(command *cobra.Command, args []string) error {
			kind, name, err := whyArguments(args)
			if err != nil {
				return err
			}
			return s.why(command.Context(), kind, name, format.String())
		},
	}
	format.add(command)
	s.addFrom(command)
	return answers(command)
}

// whyArguments takes "pod/x" and, as kubectl does, "pod x".
func whyArguments(args []string) (kind, name string, err error) {
	kind, name, _ = strings.Cut(strings.Join(args, "/"), "/")
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		kind = "pod"
	case "claim", "claims", "resourceclaim", "resourceclaims", "resourceclaim.resource.k8s.io",
		"resourceclaims.resource.k8s.io":
		kind = "claim"
	default:
		return "", "", usageErrorf("say pod/NAME or claim/NAME, and not %q", strings.Join(args, " "))
	}
	if name == "" || strings.Contains(name, "/") {
		return "", "", usageErrorf("say %s/NAME, and not %q", kind, strings.Join(args, " "))
	}
	return kind, name, nil
}

func (s *session) why(ctx context.Context, kind, name, format string) error {
	namespace, _, err := s.namespace()
	if err != nil {
		return err
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	cluster, err := s.look(ctx, whyWants(kind, key))
	if err != nil {
		return err
	}
	s.unseen(cluster)
	answer, err := whyAnswer(ctx, cluster, kind, key)
	if err != nil {
		return err
	}
	if format == "text" {
		err = s.printWhy(answer)
	} else {
		err = s.printObject(format, answer)
	}
	switch {
	case err != nil:
		return err
	case answer.State == why.Waiting || answer.State == why.Possible:
		return errNo
	case answer.State == why.Unknown:
		return errCannotTell
	}
	return nil
}

func whyWants(kind string, key types.NamespacedName) collect.Want {
	want := collect.Want{
		Fallback: key.Namespace,
		Nodes:    true, Claims: true, Templates: true, TaintRules: true, Namespaces: true,
		EventsFor: []collect.Ref{{Kind: "ResourceClaim", Namespace: key.Namespace}},
	}
	if kind == "pod" {
		want.Whole = []types.NamespacedName{key}
		want.EventsFor = append(want.EventsFor, collect.Ref{Kind: "Pod", Namespace: key.Namespace, Name: key.Name})
	} else {
		want.Pods = true
	}
	return want
}

// whyAnswer asks for a pod or a claim.
func whyAnswer(ctx context.Context, c *view.Cluster, kind string, key types.NamespacedName) (why.Answer, error) {
	if kind == "pod" {
		return why.Pod(ctx, c, key)
	}
	return why.Claim(ctx, c, key)
}
