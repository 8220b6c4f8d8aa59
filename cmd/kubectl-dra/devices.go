package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
	"example.com/dragoman/pkg/view/selector"
)

const devicesLong = `List the devices of all DRA drivers: where they are, whether they can be had, and who has them.

STATE says what can be done with a device:
  free            a claim can have it; "free?" if not all claims could be seen
  in use          a claim has it
  shared 40 %     claims have shares of it, so much of what is scarcest; LEFT is what remains
  blocked         it is made of what devices in use are made of; USED BY names them
  tainted         a taint keeps it from claims that do not tolerate the taint
  not published   a claim has it, and its driver does not offer it any more
  pool incomplete, pool invalid
                  the scheduler takes nothing from the pool; NOTE says why

USED BY has the pods, and the claim and request through which they have the device. Admin access is marked: who only
looks does not use. A device with several users has a line for each.

Devices belong to no namespace, so those of the whole cluster are listed. With -n, only those are that claims of the
namespace have. The last line counts all devices of the node, driver and class, also those that -n and --free hide.

Devices that are parts of others, as MIG devices of a GPU, share counters: what one part takes is gone for others and
for the whole. A whole device with parts in use says under LEFT what it can still give; --parts shows all counter sets.`

const devicesExample = `  # All devices
  kubectl dra devices

  # What can I still get, of one class, on one node?
  kubectl dra devices --free --class gpu.example.com --node node-a

  # What does my team hold?
  kubectl dra devices -n team-a

  # Show these attributes instead of the usual ones, or all of them
  kubectl dra devices --attributes uuid,pcieRoot
  kubectl dra devices -o wide

  # What is left of GPUs that are given away in parts
  kubectl dra devices --parts

  # See devices come, go and change hands
  kubectl dra devices --watch

  # Which devices are tainted?
  kubectl dra devices -o json | jq -r '.devices[] | select(.taints) | .node + " " + .device'`

// devicesCommand is what the flags of "devices" say.
type devicesCommand struct {
	*session

	format     *outputFormat
	options    view.DeviceOptions
	attributes []string
	parts      bool
	watch      bool
	all        bool

	compiled map[string]*selector.Selector
}

// newDevicesCommand returns "devices".
func newDevicesCommand(s *session) *cobra.Command {
	d := &devicesCommand{session: s, format: newOutputFormat("table", "wide", "json", "yaml")}
	command := &cobra.Command{
		Use:               "devices",
		Aliases:           []string{"device"},
		Short:             "List all devices, and who uses them",
		Long:              devicesLong,
		Example:           devicesExample,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return d.run(command.Context())
		},
	}
	s.addFrom(command)
	d.format.add(command)
	flags := command.Flags()
	flags.StringVar(&d.options.Node, "node", "", "Only devices that this `node` can use")
	flags.StringVar(&d.options.Driver, "driver", "", "Only devices of this `driver`")
	flags.StringVar(&d.options.Class, "class", "", "Only devices that this DeviceClass selects; `name` of the class")
	flags.BoolVar(&d.options.Free, "free", false, "Only devices that a claim may get, or a share of which it may get")
	flags.StringSliceVar(&d.attributes, "attributes", nil, "Show these attributes and capacities; `names` with commas, "+
		"with or without their domain, or \"all\"")
	flags.BoolVar(&d.parts, "parts", false, "Show what is left of devices that are given away in parts")
	flags.BoolVarP(&d.watch, "watch", "w", false, "Go on and print each device that changes")
	flags.BoolVarP(&d.all, "all-namespaces", "A", false, "Devices whoever has them; this is how it is without -n")
	_ = command.RegisterFlagCompletionFunc("node", s.completeNodes)
	_ = command.RegisterFlagCompletionFunc("driver", s.completeDrivers)
	_ = command.RegisterFlagCompletionFunc("class", s.completeClasses)
	_ = command.RegisterFlagCompletionFunc("attributes", s.completeAttributes)
	return command
}

func (d *devicesCommand) run(ctx context.Context) error {
	if d.parts && d.watch {
		return usageErrorf("--parts and --watch do not go together")
	}
	if d.watch && len(d.from) > 0 {
		return usageErrorf("--watch and --from do not go together: files do not change")
	}
	own, asked, err := d.namespace()
	if err != nil {
		return err
	}
	if asked && !d.all {
		d.options.Namespace = own
	}
	d.options.Selects = d.selects(ctx)
	// Claims of all namespaces: what is free depends on all of them.
	want := collect.Want{Fallback: own, Nodes: true, Claims: true, TaintRules: true}
	if d.watch {
		return d.follow(ctx, want)
	}
	cluster, err := d.look(ctx, want)
	if err != nil {
		return err
	}
	listing, err := view.Devices(cluster, d.options)
	if err != nil {
		return err
	}
	d.unseen(cluster)
	if withoutDevices(cluster) {
		return errNoSight
	}
	d.tell(listing, cluster)
	return d.print(listing)
}

// errNoSight is there instead of a list that would be empty because nothing can be seen.
var errNoSight = errors.New("look for devices: ResourceSlices, which have them, cannot be seen")

// selects returns what the options need to know of classes. A selector is compiled once.
func (d *devicesCommand) selects(
	ctx context.Context,
) func(*resourceapi.DeviceClass, string, *resourceapi.Device) (bool, error) {
	d.compiled = make(map[string]*selector.Selector)
	return func(class *resourceapi.DeviceClass, driver string, device *resourceapi.Device) (bool, error) {
		for _, s := range class.Spec.Selectors {
			if s.CEL == nil {
				return false, errors.New("a selector is not a CEL expression, which is all that this knows")
			}
			compiled, known := d.compiled[s.CEL.Expression]
			if !known {
				var err error
				if compiled, err = selector.Compile(s.CEL.Expression); err != nil {
					return false, err
				}
				d.compiled[s.CEL.Expression] = compiled
			}
			if yes, err := compiled.Matches(ctx, driver, device); err != nil || !yes {
				return false, err
			}
		}
		return true, nil
	}
}

// tell says on stderr what is odd about the listing, and what may have been meant if it is empty.
func (d *devicesCommand) tell(listing view.Listing, cluster *view.Cluster) {
	for _, p := range listing.Problems {
		d.say("warning: %s", p)
	}
	for _, name := range d.attributes {
		if name != allAttributes && !slices.ContainsFunc(listing.Devices, func(r view.Row) bool {
			return attribute(&r, name) != ""
		}) && len(listing.Devices) > 0 {
			d.say("No device listed has an attribute or capacity %q. There are: %s", name,
				strings.Join(attributeNames(listing.Devices), ", "))
		}
	}
	if listing.Summary.Devices > 0 {
		return
	}
	switch o := d.options; {
	case len(cluster.Slices) == 0:
		d.say("No driver has published devices: there are no ResourceSlices.")
	case o.Driver != "" && !slices.ContainsFunc(cluster.Pools(), func(p view.Pool) bool { return p.Driver == o.Driver }):
		d.say("Driver %q has published no devices. Those that have: %s", o.Driver, strings.Join(drivers(cluster), ", "))
	case o.Node != "" && !slices.Contains(nodesWithDevices(cluster), o.Node):
		d.say("Node %q has no devices of its own. Nodes that have: %s", o.Node,
			orNothing(nodesWithDevices(cluster)))
	default:
		d.say("No devices found.")
	}
}

// nodesWithDevices are those that have devices which no other node can use.
func nodesWithDevices(cluster *view.Cluster) []string {
	all := make(map[string]bool)
	for _, slice := range cluster.Slices {
		for i := range slice.Spec.Devices {
			if node := view.PlaceOf(slice, &slice.Spec.Devices[i]).Node; node != "" {
				all[node] = true
			}
		}
	}
	return sorted(all)
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return some(names)
}

func drivers(cluster *view.Cluster) []string {
	var all []string
	for _, p := range cluster.Pools() {
		all = append(all, p.Driver)
	}
	return slices.Compact(all) // pools are sorted by driver
}

// print prints the listing in the format that was asked for.
func (d *devicesCommand) print(listing view.Listing) error {
	switch d.format.value {
	case "json", "yaml":
		return d.printObject(d.format.value, listing)
	}
	if listing.Summary.Devices == 0 {
		return nil // tell has said so
	}
	page := d.newScreen()
	if d.parts {
		d.partsTable(listing).writeTo(page)
		page.linef("%s", partsSummary(listing.CounterSets))
	} else {
		d.devicesTable(listing.Devices).writeTo(page)
		writeSummary(page, listing)
	}
	return page.printTo(d.streams.Out)
}

// writeSummary writes what is below the table.
func writeSummary(page *screen, listing view.Listing) {
	line := listing.Summary.String()
	if hidden := listing.Summary.Devices - len(listing.Devices); hidden > 0 {
		line += " (" + view.Number(len(listing.Devices)) + " shown)"
	}
	page.linef("%s", line)
	if listing.Summary.Blocked > 0 {
		page.linef("Parts exclude each other and the whole: --parts shows what there still is to have.")
	}
}
