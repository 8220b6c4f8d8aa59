package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/inventory"
)

// report is what "dragoman devices -o yaml" prints.
type report struct {
	Driver  string                          `json:"driver"`
	Node    string                          `json:"node"`
	Devices []reportedDevice                `json:"devices"`
	LeftOut []string                        `json:"leftOut,omitempty"`
	Slices  []resourceapi.ResourceSliceSpec `json:"slices"`
}

type reportedDevice struct {
	Name    string `json:"name"`
	Healthy bool   `json:"healthy"`
	Reason  string `json:"reason,omitempty"`
	PartOf  string `json:"partOf,omitempty"`

	seen device.Device
}

// printDevices asks the backend once and prints what it sees and what would be published.
func printDevices(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	settings := newSettings("dragoman devices [-o table|yaml] [flags]", nil)
	settings.output = settings.flags.String("o", "table", "")
	if done, err := settings.parse(args, stdout); done || err != nil {
		return err
	}
	if *settings.output != "table" && *settings.output != "yaml" {
		return &usageError{fmt.Sprintf("-o %s: unknown format; there are: table, yaml", *settings.output)}
	}
	settings.nodeName = hostName()
	config, err := settings.config(getenv)
	if err != nil {
		return err
	}
	r, err := look(ctx, config)
	if err != nil {
		return err
	}
	for _, l := range r.LeftOut {
		if _, err := fmt.Fprintf(stderr, "warning: %s\n", l); err != nil {
			return err
		}
	}
	if *settings.output == "table" {
		return r.printTable(stdout)
	}
	text, err := yaml.Marshal(r)
	if err != nil {
		return fmt.Errorf("print YAML: %w", err)
	}
	_, err = stdout.Write(text)
	return err
}

// hostName is good enough where no cluster has given the node a name; "" if the host has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return strings.ToLower(name)
}

// look asks the backend. Nothing is written to the node: a backend makes its directory when claims come.
func look(ctx context.Context, config *driverConfig) (report, error) {
	backend, err := backendOf(ctx, config, "")
	if err != nil {
		return report{}, err
	}
	snapshot, err := backend.Devices(ctx)
	if err != nil {
		return report{}, fmt.Errorf("look for devices with backend %s: %w", config.Backend, err)
	}
	r := report{Driver: config.DriverName, Node: config.NodeName}
	published, leftOut := inventory.Slices(snapshot, config.DriverName, config.NodeName, newestCluster(config))
	r.Slices = published
	for _, l := range leftOut {
		r.LeftOut = append(r.LeftOut, l.String())
	}
	place := make(map[string]int)
	for _, slice := range published {
		for _, d := range slice.Devices {
			place[d.Name] = len(place) + 1
		}
	}
	for _, d := range snapshot.Devices {
		r.Devices = append(r.Devices,
			reportedDevice{
				Name: d.Name, Healthy: !d.Health.Unhealthy, Reason: d.Health.Reason, PartOf: d.PartOf, seen: d,
			})
	}
	// In the order of the slices; what is in none comes last.
	slices.SortStableFunc(r.Devices, func(a, b reportedDevice) int {
		return cmp.Or(cmp.Compare(cmp.Or(place[a.Name], math.MaxInt), cmp.Or(place[b.Name], math.MaxInt)),
			strings.Compare(a.Name, b.Name))
	})
	return r, nil
}

// newestCluster is what may be offered on a cluster that keeps everything; there is none here to ask.
func newestCluster(config *driverConfig) inventory.Offer {
	return inventory.Offer{
		Counters: inventory.CountersApart, Shares: true, BindingConditions: true,
		Taints: true, NoneTaints: true, TaintEffect: taintEffect(config.Health),
	}
}

// column is one of the table. Columns that are empty for all devices are not shown.
type column struct {
	title string
	value func(reportedDevice) string
}

func columns() []column {
	return []column{
		{"NAME", func(d reportedDevice) string { return d.Name }},
		{"HEALTH", func(d reportedDevice) string {
			if d.Healthy {
				return "healthy"
			}
			return "unhealthy"
		}},
		{"PART OF", func(d reportedDevice) string { return d.PartOf }},
		{"PROFILE", func(d reportedDevice) string { return d.attribute("profile") }},
		{"MODEL", func(d reportedDevice) string { return cmp.Or(d.attribute("productName"), d.attribute("model")) }},
		{"MEMORY", func(d reportedDevice) string { return d.capacity("memory") }},
		{"COMPUTE", func(d reportedDevice) string { return d.capacity("compute") }},
		{"NUMA", func(d reportedDevice) string { return d.attribute("numaNode") }},
		{"PCIE ROOT", func(d reportedDevice) string { return d.attribute("pcieRoot") }},
		{"PCI BUS ID", func(d reportedDevice) string { return d.attribute("pciBusID") }},
		{"UUID", func(d reportedDevice) string { return d.attribute("uuid") }},
		{"SHARED", reportedDevice.shares},
		{"WAITS FOR", func(d reportedDevice) string { return strings.Join(d.seen.BindingConditions, ",") }},
		{"TAINTS", reportedDevice.taints},
		{"REASON", func(d reportedDevice) string { return d.Reason }},
	}
}

// shares says what several claims can have of the device, "" if it is for one at a time.
func (d reportedDevice) shares() string {
	if d.seen.AllowMultipleAllocations == nil || !*d.seen.AllowMultipleAllocations {
		return ""
	}
	shares := []string{"yes"}
	for _, name := range slices.Sorted(maps.Keys(d.seen.Capacity)) {
		if policy := d.seen.Capacity[name].RequestPolicy; policy != nil && policy.Default != nil {
			shares = append(shares, fmt.Sprintf("%s=%s", name, policy.Default))
		}
	}
	return strings.Join(shares, ",")
}

// taints returns the taints as kubectl writes those of nodes.
func (d reportedDevice) taints() string {
	var all []string
	for _, t := range d.seen.Taints {
		key := t.Key
		if t.Value != "" {
			key += "=" + t.Value
		}
		all = append(all, key+":"+string(t.Effect))
	}
	return strings.Join(all, ",")
}

// attribute returns the value of the attribute of that name, with a domain if there is none without; "" if there is
// none at all.
func (d reportedDevice) attribute(name string) string {
	names := slices.SortedFunc(maps.Keys(d.seen.Attributes), func(a, b resourceapi.QualifiedName) int {
		return cmp.Or(cmp.Compare(strings.Count(string(a), "/"), strings.Count(string(b), "/")), cmp.Compare(a, b))
	})
	for _, qualified := range names {
		if path.Base(string(qualified)) != name {
			continue
		}
		switch a := d.seen.Attributes[qualified]; {
		case a.StringValue != nil:
			return *a.StringValue
		case a.VersionValue != nil:
			return *a.VersionValue
		case a.IntValue != nil:
			return strconv.FormatInt(*a.IntValue, 10)
		case a.BoolValue != nil:
			return strconv.FormatBool(*a.BoolValue)
		}
	}
	return ""
}

func (d reportedDevice) capacity(name resourceapi.QualifiedName) string {
	if c, ok := d.seen.Capacity[name]; ok {
		return c.Value.String()
	}
	return ""
}

func (r report) printTable(stdout io.Writer) error {
	used := slices.DeleteFunc(columns(), func(c column) bool {
		return !slices.ContainsFunc(r.Devices, func(d reportedDevice) bool { return c.value(d) != "" })
	})
	var text strings.Builder
	row := func(cell func(column) string) {
		var cells []string
		for _, c := range used {
			cells = append(cells, cell(c))
		}
		text.WriteString(strings.Join(cells, "\t") + "\n")
	}
	if len(r.Devices) > 0 {
		row(func(c column) string { return c.title })
	}
	unhealthy := 0
	for _, d := range r.Devices {
		row(func(c column) string { return cmp.Or(c.value(d), "-") })
		if !d.Healthy {
			unhealthy++
		}
	}
	fmt.Fprintf(&text, "%s, %d unhealthy; %s in pool %s of driver %s\n", count(len(r.Devices), "device"), unhealthy,
		count(len(r.Slices), "slice"), r.Node, r.Driver)
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, text.String()); err != nil {
		return err
	}
	return table.Flush()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
