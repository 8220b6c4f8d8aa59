package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/view"
)

// allAttributes asks for all attributes with --attributes.
const allAttributes = "all"

// nodeText is the node's name, or in parentheses which nodes can use the device.
func nodeText(w view.Where) string {
	switch {
	case w.Node != "":
		return w.Node
	case w.AllNodes:
		return "(all nodes)"
	case w.NodeCount == nil:
		return "(some nodes)"
	}
	return "(" + view.Count(*w.NodeCount, "node") + ")"
}

// attribute returns the value of an attribute or a capacity, by a name with or without its domain; "" if there is none.
func attribute(r *view.Row, name string) string {
	if a, ok := view.Named(r.Attributes, name); ok {
		return view.AttributeText(a)
	}
	if c, ok := view.Named(r.Capacity, name); ok {
		return c.Value.String()
	}
	return ""
}

// titleOf is the title of a column: the name without its domain, in capitals, as kubectl writes titles.
func titleOf(name string) string { return strings.ToUpper(path.Base(name)) }

func attributeNames(rows []view.Row) []string {
	names := make(map[string]bool)
	for _, r := range rows {
		for name := range r.Attributes {
			names[path.Base(string(name))] = true
		}
		for name := range r.Capacity {
			names[path.Base(string(name))] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func allAttributesText(r *view.Row) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Attributes)) {
		all = append(all, short(string(name), r.Driver)+"="+view.AttributeText(r.Attributes[name]))
	}
	return strings.Join(all, ",")
}

func allCapacityText(r *view.Row) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Capacity)) {
		c := r.Capacity[name]
		all = append(all, short(string(name), r.Driver)+"="+c.Value.String())
	}
	return strings.Join(all, ",")
}

// short leaves out the driver's own domain: it is in the row already.
func short(name, driver string) string { return strings.TrimPrefix(name, driver+"/") }

func taintsText(r *view.Row, wide bool) string {
	var all []string
	for _, t := range r.Taints {
		text := t.String()
		if !wide {
			text = short(text, r.Driver)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func stateText(r *view.Row) string {
	switch r.State {
	case view.Free:
		return "free"
	case view.MaybeFree:
		return "free?"
	case view.InUse:
		return "in use"
	case view.Shared:
		if r.SharedPercent == nil {
			return "shared"
		}
		return fmt.Sprintf("shared %d %%", *r.SharedPercent)
	case view.Blocked:
		return "blocked"
	case view.Tainted:
		return "tainted"
	case view.NotPublished:
		return "not published"
	case view.PoolIncomplete:
		return "pool incomplete"
	case view.PoolInvalid:
		return "pool invalid"
	case view.Gone:
		return "gone"
	}
	return string(r.State)
}

// leftText says what can still be had of a device that claims share, or whose parts are in use.
func leftText(r *view.Row) string {
	if len(r.Gives) > 0 {
		return partsText(r.Gives)
	}
	if r.State != view.Shared {
		return ""
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Left)) {
		left, total := r.Left[name], r.Capacity[name].Value
		all = append(all, fmt.Sprintf("%s %s of %s", short(string(name), r.Driver), left.String(), total.String()))
	}
	return strings.Join(all, ", ")
}

// partsText is "1x 3g.40gb or 4x 1g.10gb".
func partsText(parts []view.Parts) string {
	var all []string
	for _, p := range parts {
		all = append(all, fmt.Sprintf("%dx %s", p.Count, p.Profile))
	}
	return strings.Join(all, " or ")
}

// usedByLines has one line for each claim, or one for what blocks the device.
func usedByLines(r *view.Row) []string {
	var lines []string
	for _, u := range r.UsedBy {
		line := userText(u)
		if len(u.Consumed) > 0 {
			line += ": " + consumedText(u.Consumed, r.Driver)
		}
		lines = append(lines, line)
	}
	if len(r.BlockedBy) > 0 {
		lines = append(lines, blockersText(r.BlockedBy))
	}
	if len(lines) == 0 {
		return []string{""}
	}
	return lines
}

// userText is "team-a/train-0 (claim gpus, request gpu)".
func userText(u view.User) string {
	text := fmt.Sprintf("%s (claim %s, request %s", whoText(u), u.Claim, u.Request)
	if u.AdminAccess {
		text += ", admin access"
	}
	return text + ")"
}

// whoText names the pods of a claim: the first two if there are many.
func whoText(u view.User) string {
	who := slices.Concat(u.Pods, u.Others)
	switch {
	case len(who) == 0:
		return "no pod in " + u.Namespace
	case len(who) > 3:
		return fmt.Sprintf("%s/%s and %d more", u.Namespace, strings.Join(who[:2], ","), len(who)-2)
	}
	return u.Namespace + "/" + strings.Join(who, ",")
}

func consumedText(consumed map[resourceapi.QualifiedName]resource.Quantity, driver string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(consumed)) {
		amount := consumed[name]
		all = append(all, short(string(name), driver)+" "+amount.String())
	}
	return strings.Join(all, ", ")
}

// blockersText is "gpu-2-3g-40gb-0 (team-a/train-0)", the first two if there are many.
func blockersText(blockers []view.Blocker) string {
	var all []string
	for _, b := range blockers {
		all = append(all, blockerText(b))
	}
	if len(all) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:2], ", "), len(all)-2)
	}
	return strings.Join(all, ", ")
}

func blockerText(b view.Blocker) string {
	var who []string
	for _, u := range b.UsedBy {
		who = append(who, whoText(u))
	}
	return fmt.Sprintf("%s (%s)", b.Device, strings.Join(who, ", "))
}

// noteText is what else there is to say of a device, in whole sentences without full stops.
func noteText(r *view.Row) string {
	notes := slices.Clone(r.Unhealthy)
	for _, t := range r.Taints {
		if t.Rule != "" {
			notes = append(notes, fmt.Sprintf("taint %s is from rule %s", short(t.Key, r.Driver), t.Rule))
		}
	}
	if r.NodeCount != nil && *r.NodeCount == 0 {
		notes = append(notes, "no node has the labels that it asks for")
	}
	if r.Reason != "" {
		notes = append(notes, r.Reason)
	}
	return strings.Join(notes, "; ")
}
