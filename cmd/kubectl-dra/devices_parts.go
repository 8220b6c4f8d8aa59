package main

import (
	"fmt"
	"strings"

	"example.com/dragoman/pkg/view"
)

// partsTable has a row for each counter set: what is left, what that still gives, and who has the rest.
func (d *devicesCommand) partsTable(listing view.Listing) *table {
	t := &table{}
	if len(listing.CounterSets) == 0 {
		return t
	}
	t.header = []string{"NODE", "DRIVER", "POOL", "COUNTER SET", "LEFT", "CAN STILL GIVE", "TAKEN BY"}
	for _, set := range listing.CounterSets {
		var takers []string
		for _, b := range set.Takers {
			takers = append(takers, blockerText(b))
		}
		gives := partsText(set.Gives)
		if gives == "" {
			gives = "nothing"
		}
		t.add(text(nodeText(set.Where)), text(set.Driver), text(set.Pool), text(set.Name),
			text(countersText(set.Counters)), text(gives), tableCell{lines: takers})
	}
	return t
}

func text(line string) tableCell { return tableCell{lines: []string{line}} }

// countersText says what is left of each counter. Counters that are numbered, one for each slice of a memory, are
// counted as one.
func countersText(counters []view.Counter) string {
	var all []string
	for i := 0; i < len(counters); {
		n := alike(counters[i:])
		c := counters[i]
		if n > 1 {
			c.Name, c.Total, c.Left = numberless(c.Name), c.Total.DeepCopy(), c.Left.DeepCopy()
			for _, other := range counters[i+1 : i+n] {
				c.Total.Add(other.Total)
				c.Left.Add(other.Left)
			}
		}
		all = append(all, fmt.Sprintf("%s %s of %s", c.Name, c.Left.String(), c.Total.String()))
		i += n
	}
	return strings.Join(all, ", ")
}

// alike is how many of the counters, from the first on, differ only in the number at the end of their names.
func alike(counters []view.Counter) int {
	name, n := numberless(counters[0].Name), 1
	if name == counters[0].Name {
		return 1
	}
	for n < len(counters) && numberless(counters[n].Name) == name {
		n++
	}
	return n
}

func numberless(name string) string {
	without := strings.TrimRight(name, "0123456789")
	if without == name {
		return name
	}
	return strings.TrimRight(without, "-")
}

func partsSummary(sets []view.CounterSet) string {
	if len(sets) == 0 {
		return "No device listed is part of another."
	}
	taken, empty := 0, 0
	for _, s := range sets {
		switch {
		case len(s.Gives) == 0:
			empty++
		case len(s.Takers) > 0:
			taken++
		}
	}
	line := fmt.Sprintf("%s: %s untouched, %s with something left, %s with nothing left",
		view.Count(len(sets), "counter set"), view.Number(len(sets)-taken-empty), view.Number(taken), view.Number(empty))
	return line + `; "or" means one kind or the other, not both`
}
