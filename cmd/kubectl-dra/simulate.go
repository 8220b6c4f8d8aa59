package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	utilversion "k8s.io/apimachinery/pkg/util/version"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
	"example.com/dragoman/pkg/view/collect"
)

const simulateLong = `Say which devices claims, or pods with their claims, would get, without creating anything.

The scheduler's own code decides, on the cluster as it is now, on slices from files, or on made-up machines; the last
two need no cluster. Files can have claims, claim templates, pods, whatever has a pod template (Deployments, Jobs and so
on, as many pods as they want), and classes, nodes, slices and taint rules, which count as if the cluster had them. What
is in the files gets its devices one after the other, in the order of the files.

Processors, memory and everything else that is not a device are not judged, nor is what else keeps a pod from being
scheduled; the node selector, the affinity to nodes and the tolerations of pods are.`

const simulateExample = `  # Would my pod get its devices now, and which?
  kubectl dra simulate -f pod.yaml

  # Which GPUs would it get on 4 made-up machines with 8 H100 each? There is no cluster
  kubectl dra simulate -f pod.yaml --machines dgx-h100 --nodes 4

  # How many such pods fit on the machines of this cluster, as it is now?
  kubectl dra simulate -f pod.yaml --replicas max

  # Do they fit what another cluster publishes?
  kubectl get resourceslices,deviceclasses -o yaml --context other > other.yaml
  kubectl dra simulate -f pod.yaml --slices other.yaml`

// simulateCommand is what the flags of "simulate" say.
type simulateCommand struct {
	*session
	format *outputFormat

	files     []string
	recursive bool
	slices    []string
	replicas  string

	machines   string
	nodes      int
	labels     map[string]string
	driver     string
	kubernetes string
}

// newSimulateCommand returns "simulate".
func newSimulateCommand(s *session) *cobra.Command {
	c := &simulateCommand{session: s, format: newOutputFormat("text", "wide", "json", "yaml")}
	command := &cobra.Command{
		Use:               "simulate -f FILE",
		Short:             "Which devices would claims or pods get?",
		Long:              simulateLong,
		Example:           simulateExample,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return c.run(command.Context()) },
	}
	flags := command.Flags()
	flags.StringArrayVarP(&c.files, "filename", "f", nil,
		"The `file` or folder with claims, pods or what makes pods; - for stdin. Can be repeated")
	flags.BoolVarP(&c.recursive, "recursive", "R", false, "Read folders in folders, too")
	flags.StringVar(&c.replicas, "replicas", "",
		"The `number` of pods of each kind, instead of what the files say; max for as many as fit")
	flags.StringVar(&c.machines, "machines", "",
		"Machines that a `profile` makes up, instead of a cluster: a built-in one ("+strings.Join(machineProfiles(), ", ")+
			"), or a file with a MachineProfile")
	flags.IntVar(&c.nodes, "nodes", 1, "With --machines: so many of them, at most "+
		view.Number(mostNodes)+": node-0, node-1 and so on")
	flags.StringVar(&c.driver, "driver", "gpu.example.com", "With --machines: the name of the driver that has them")
	flags.StringArrayVar(&c.slices, "slices", nil,
		"A `file` or folder with ResourceSlices, and with classes, nodes, claims, instead of a cluster; - for stdin")
	flags.StringToStringVar(&c.labels, "node-labels", nil,
		"Labels of the nodes that are not in files: `key=value`,key=value")
	flags.StringVar(&c.kubernetes, "kubernetes", "",
		"With --machines or --slices: do as this `version` of Kubernetes does, 1.34 to 1.37 (default 1.37)")
	s.addFrom(command)
	c.format.add(command)
	c.completeFlags(command)
	return answers(command)
}

func (c *simulateCommand) completeFlags(command *cobra.Command) {
	for flag, words := range map[string][]string{
		"kubernetes": kubernetesVersions(), "replicas": {"max"}, "nodes": nil, "driver": nil, "node-labels": nil,
	} {
		_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	// Where none of the built-in ones is meant, a file is.
	_ = command.RegisterFlagCompletionFunc("machines",
		cobra.FixedCompletions(machineProfiles(), cobra.ShellCompDirectiveDefault))
	for _, flag := range []string{"filename", "slices"} {
		_ = command.MarkFlagFilename(flag, manifestFiles()...)
	}
}

func (c *simulateCommand) run(ctx context.Context) error {
	most, err := c.check()
	if err != nil {
		return err
	}
	files, err := c.readFiles(c.files, true)
	if err != nil {
		return err
	}
	cluster, err := c.base(ctx, files)
	if err != nil {
		return err
	}
	features := allocate.FeaturesOf(cluster)
	if c.inFiles() {
		features = allocate.FeaturesOf(merged(cluster, files.cluster))
	}
	c.unseen(cluster)
	cluster = c.with(cluster, files.cluster)
	if withoutDevices(cluster) {
		return errNoSight
	}
	c.notJudged(files, cluster)
	allocator, err := allocate.New(cluster, allocate.Options{Features: &features})
	if err != nil {
		return err
	}
	answer := simulationAnswer{Nodes: len(allocate.NodesOf(cluster)), Possible: true}
	wanted := files.wanted(most)
	if len(wanted) == 0 {
		return errors.New("nothing to simulate: the files have no claim, claim template or pod, and nothing that makes pods")
	}
	for _, w := range wanted {
		o, err := w.simulate(ctx, allocator)
		if err != nil {
			return err
		}
		o.ClaimsUnseen = o.Possible && cluster.Hides("resourceclaims")
		answer.Objects = append(answer.Objects, o)
		answer.Possible = answer.Possible && o.Possible
	}
	return c.print(answer)
}

// maxReplicas stands for "max".
const maxReplicas = -1

// What is made up is in memory as a whole. These are the largest clusters that Kubernetes is tested with.
const (
	mostNodes    = 5_000
	mostReplicas = 150_000
)

// check says how many replicas are wanted: 0 for what the files say.
func (c *simulateCommand) check() (int, error) {
	if len(c.files) == 0 {
		return 0, usageErrorf("simulate: -f says which claim or pod, and there is none")
	}
	if instead := c.insteadOfCluster(); len(instead) > 1 {
		return 0, usageErrorf("simulate: %s do not go together: each stands for a cluster", strings.Join(instead, " and "))
	}
	if c.nodes < 1 || c.nodes > mostNodes {
		return 0, usageErrorf("simulate: --nodes %d: from 1 to %s machines can be made up", c.nodes, view.Number(mostNodes))
	}
	if c.kubernetes != "" && !c.inFiles() {
		return 0, usageErrorf("simulate: --kubernetes: the version of a cluster is what it says itself; " +
			"only with --machines or --slices there is a choice")
	}
	if v, err := utilversion.ParseGeneric(c.kubernetes); c.kubernetes != "" &&
		(err != nil || v.LessThan(utilversion.MajorMinor(1, 34)) || v.AtLeast(utilversion.MajorMinor(1, 38))) {
		return 0, usageErrorf("simulate: --kubernetes %s: known are 1.34 to 1.37", c.kubernetes)
	}
	switch c.replicas {
	case "":
		return 0, nil
	case "max":
		return maxReplicas, nil
	}
	n, err := strconv.Atoi(c.replicas)
	if err != nil || n < 1 || n > mostReplicas {
		return 0, usageErrorf("simulate: --replicas %s: neither a number from 1 to %s nor max", c.replicas,
			view.Number(mostReplicas))
	}
	return n, nil
}

// insteadOfCluster are the flags that say what to look at instead of a cluster.
func (c *simulateCommand) insteadOfCluster() []string {
	var flags []string
	for _, f := range []struct {
		name  string
		given bool
	}{{"--machines", c.machines != ""}, {"--slices", len(c.slices) > 0}, {"--from", len(c.from) > 0}} {
		if f.given {
			flags = append(flags, f.name)
		}
	}
	return flags
}

// inFiles says that no cluster is looked at.
func (c *simulateCommand) inFiles() bool { return c.machines != "" || len(c.slices) > 0 }

// base is the cluster without the files of -f.
func (c *simulateCommand) base(ctx context.Context, files *simulatedFiles) (*view.Cluster, error) {
	switch {
	case c.machines != "":
		cluster, err := c.makeUp(ctx)
		if err != nil {
			return nil, err
		}
		c.assumeClasses(cluster, files)
		return cluster, nil
	case len(c.slices) > 0:
		given, err := c.readFiles(c.slices, false)
		if err != nil {
			return nil, err
		}
		if len(given.cluster.Slices)+len(files.cluster.Slices) == 0 {
			return nil, fmt.Errorf("read --slices: there is no ResourceSlice in the files")
		}
		given.cluster.Version = c.kubernetes
		return given.cluster, nil
	}
	return c.look(ctx, collect.Want{
		Nodes: true, Namespaces: true, Claims: true, Templates: true, TaintRules: true,
	})
}
