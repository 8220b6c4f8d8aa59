package main

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
	"example.com/dragoman/pkg/view/validate"
)

// completionTime is how long somebody who pressed TAB waits for words at most.
const completionTime = 3 * time.Second

// kubernetesVersions are those whose rules are known here.
func kubernetesVersions() []string {
	var all []string
	for minor := validate.Oldest; minor <= validate.Newest; minor++ {
		all = append(all, fmt.Sprintf("1.%d", minor))
	}
	return all
}

// manifestFiles are the ends of names of files with objects.
func manifestFiles() []string { return []string{"yaml", "yml", "json"} }

// completer is what cobra calls for the words that may follow. It never complains: who presses TAB while the cluster is
// away gets no words, and no errors in the middle of a line.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// complete returns a completer for words of the cluster that the command line names so far.
//
// Of what belongs to namespaces it has that of -n: files have more.
func (s *session) complete(want collect.Want, words func(*view.Cluster) []string) completer {
	return func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(contextOf(command), completionTime)
		defer cancel()
		s.startLogging() // nothing else has, before a completion
		if want.Pods || want.Claims {
			name, _, err := s.namespace()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			want.Namespace = name
		}
		cluster, err := s.look(ctx, want)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if want.Namespace != "" {
			cluster.Pods, cluster.Claims = within(want.Namespace, cluster.Pods), within(want.Namespace, cluster.Claims)
		}
		found := slices.DeleteFunc(words(cluster), func(word string) bool { return word != visible(word) })
		slices.Sort(found)
		return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
	}
}

func contextOf(command *cobra.Command) context.Context {
	if ctx := command.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

// completePodsAndClaims completes the one argument pod/NAME or claim/NAME: claims, and pods that have to do with
// devices.
func (s *session) completePodsAndClaims(
	command *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kind, _, named := strings.Cut(typed, "/")
	if !named {
		return []string{"pod/", "claim/"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	want := collect.Want{Claims: true}
	if isPodKind(kind) {
		want = collect.Want{Pods: true}
	}
	return s.complete(want, func(c *view.Cluster) []string {
		if want.Pods {
			return names(kind+"/", c.Pods)
		}
		return names(kind+"/", c.Claims)
	})(command, args, typed)
}

func isPodKind(kind string) bool { return kind == "pod" || kind == "pods" || kind == "po" }

// completeNodes completes the name of a node.
func (s *session) completeNodes(
	command *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	return s.complete(collect.Want{Nodes: true}, func(c *view.Cluster) []string {
		return names("", c.Nodes)
	})(command, args, typed)
}

// completeDrivers completes the name of a driver that has published devices.
func (s *session) completeDrivers(
	command *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	return s.complete(collect.Want{}, func(c *view.Cluster) []string {
		drivers := make(map[string]bool)
		for _, slice := range c.Slices {
			drivers[slice.Spec.Driver] = true
		}
		return slices.Collect(maps.Keys(drivers))
	})(command, args, typed)
}

// completeAttributes completes the last of some names of attributes and capacities with commas between them.
func (s *session) completeAttributes(
	command *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndex(typed, ",")+1]
	return s.complete(collect.Want{}, func(c *view.Cluster) []string {
		words := []string{before + allAttributes}
		for _, slice := range c.Slices {
			for i := range slice.Spec.Devices {
				for name := range slice.Spec.Devices[i].Attributes {
					words = append(words, before+path.Base(string(name)))
				}
				for name := range slice.Spec.Devices[i].Capacity {
					words = append(words, before+path.Base(string(name)))
				}
			}
		}
		return words
	})(command, args, typed)
}

// completeClasses completes the name of a DeviceClass.
func (s *session) completeClasses(
	command *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	return s.complete(collect.Want{}, func(c *view.Cluster) []string {
		return names("", c.Classes)
	})(command, args, typed)
}

// completeNamespaces completes the value of -n.
func (s *session) completeNamespaces(
	command *cobra.Command, args []string, typed string,
) ([]string, cobra.ShellCompDirective) {
	return s.complete(collect.Want{Namespaces: true}, func(c *view.Cluster) []string {
		return names("", c.Namespaces)
	})(command, args, typed)
}

// completeContexts completes the value of --context, from the kubeconfig.
func (s *session) completeContexts(
	*cobra.Command, []string, string,
) ([]string, cobra.ShellCompDirective) {
	raw, err := s.cluster.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(raw.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func names[T metav1.Object](prefix string, objects []T) []string {
	var all []string
	for _, o := range objects {
		all = append(all, prefix+o.GetName())
	}
	return all
}

// within are the objects of a namespace.
func within[T metav1.Object](namespace string, objects []T) []T {
	return slices.DeleteFunc(slices.Clone(objects), func(o T) bool { return o.GetNamespace() != namespace })
}
