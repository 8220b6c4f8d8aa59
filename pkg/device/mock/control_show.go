package mock

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func parseShow(words []string) (Command, error) {
	if len(words) > 0 {
		return Command{}, usage("show", fmt.Sprintf("%q is one word too many", words[0]))
	}
	return Command{onlyShows: true, change: func(c *controls, m machine) (string, error) { return c.show(m), nil }}, nil
}

// show says in lines what the machine was told.
func (c controls) show(m machine) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(c.Devices)) {
		for _, what := range c.Devices[name].show() {
			lines = append(lines, name+" "+what)
		}
	}
	for _, name := range calls() {
		told := c.Calls[name]
		if told.Slow.Duration > 0 {
			lines = append(lines, fmt.Sprintf("each %s takes %s longer", name, told.Slow.Duration))
		}
		if told.Fail != nil {
			lines = append(lines, told.Fail.show(name))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing was told; the machine is as its profile says")
	}
	return strings.Join(append(lines, fmt.Sprintf("node %s: %s", m.node, inventoryOf(m.now))), "\n")
}

func (d deviceControl) show() (what []string) {
	switch {
	case d.Removed:
		return []string{"is removed"}
	case d.Like != "":
		what = append(what, "is added; it is like "+d.Like)
	}
	if d.Health != nil && d.Health.Unhealthy {
		what = append(what, "is unhealthy: "+d.Health.Reason)
	} else if d.Health != nil {
		what = append(what, "is healthy")
	}
	if d.Taints != nil && len(*d.Taints) == 0 {
		what = append(what, "has no taints")
	} else if d.Taints != nil {
		for _, t := range *d.Taints {
			what = append(what, "has the taint "+t.String())
		}
	}
	return what
}

// String writes a taint as a command does.
func (t taintControl) String() string {
	if t.Value == "" {
		return t.Key + ":" + string(t.Effect)
	}
	return t.Key + "=" + t.Value + ":" + string(t.Effect)
}

func (f failure) show(name call) string {
	if f.Times == 0 {
		return fmt.Sprintf("each %s fails: %s", name, f.Message)
	}
	return fmt.Sprintf("the next %d times, %s fails: %s", f.Times, name, f.Message)
}
