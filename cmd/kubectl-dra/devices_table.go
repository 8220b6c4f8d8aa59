package main

import (
	"cmp"
	"slices"

	"example.com/dragoman/pkg/view"
)

// column is one of the table of devices.
type column struct {
	title string
	// cell returns the lines of a row: users have one each. Empty cells are shown as "-".
	cell func(*view.Row) []string
	tone func(*view.Row) tone
	// always says that the column is shown though it may be empty for all devices.
	always bool
	// blank says that empty cells are left empty.
	blank bool
}

func one(value func(*view.Row) string) func(*view.Row) []string {
	return func(r *view.Row) []string { return []string{value(r)} }
}

// devicesTable returns the table of the rows. Columns with nothing in them are left out, so that a small cluster fits
// on a screen.
func (d *devicesCommand) devicesTable(rows []view.Row) *table {
	if len(rows) == 0 {
		return &table{}
	}
	return newDevicesTable(filled(d.columns(rows), rows), rows)
}

// filled returns the columns that have something in them, or always are there.
func filled(columns []column, rows []view.Row) []column {
	return slices.DeleteFunc(columns, func(c column) bool {
		return !c.always && !slices.ContainsFunc(rows, func(r view.Row) bool {
			return slices.ContainsFunc(c.cell(&r), func(text string) bool { return text != "" })
		})
	})
}

func newDevicesTable(columns []column, rows []view.Row) *table {
	t := &table{}
	for _, c := range columns {
		t.header = append(t.header, c.title)
	}
	for i := range rows {
		t.add(devicesRow(columns, &rows[i])...)
	}
	return t
}

func devicesRow(columns []column, r *view.Row) []tableCell {
	cells := make([]tableCell, 0, len(columns))
	for _, c := range columns {
		cell := tableCell{lines: c.cell(r), blank: c.blank}
		if c.tone != nil {
			cell.tone = c.tone(r)
		}
		cells = append(cells, cell)
	}
	return cells
}

func (d *devicesCommand) columns(rows []view.Row) []column {
	wide := d.format.value == "wide"
	columns := []column{
		{title: "NODE", cell: one(func(r *view.Row) string { return nodeText(r.Where) }), always: true},
		{title: "DRIVER", cell: one(func(r *view.Row) string { return r.Driver }), always: true},
	}
	// The pool of a node's own devices has the node's name with most drivers.
	if wide || slices.ContainsFunc(rows, func(r view.Row) bool { return r.Pool != r.Node }) {
		columns = append(columns, column{title: "POOL", cell: one(func(r *view.Row) string { return r.Pool })})
	}
	columns = append(columns,
		column{title: "DEVICE", cell: one(func(r *view.Row) string { return r.Device }), always: true})
	columns = append(columns, d.attributeColumns(rows)...)
	columns = append(columns,
		column{title: "TAINTS", cell: one(func(r *view.Row) string { return taintsText(r, wide) }), always: d.watch},
		column{title: "STATE", cell: one(stateText), tone: stateTone, always: true},
		column{title: "LEFT", cell: one(leftText), always: d.watch},
		column{title: "USED BY", cell: usedByLines, always: true},
		column{title: "NOTE", cell: one(noteText), always: d.watch, blank: true},
	)
	if wide || slices.Contains(d.attributes, allAttributes) {
		columns = append(columns,
			column{title: "CAPACITY", cell: one(allCapacityText)}, column{title: "ATTRIBUTES", cell: one(allAttributesText)})
	}
	return columns
}

// attributeColumns are those that were asked for, or those that say best what a device is. Drivers call that by
// different names.
func (d *devicesCommand) attributeColumns(rows []view.Row) []column {
	var columns []column
	for _, name := range d.attributes {
		if name != allAttributes {
			columns = append(columns,
				column{title: titleOf(name), cell: one(func(r *view.Row) string { return attribute(r, name) })})
		}
	}
	if len(d.attributes) > 0 {
		return columns
	}
	columns = []column{{title: "MODEL", cell: one(modelText)}}
	if typesDiffer(rows) {
		columns = append(columns, column{title: "TYPE", cell: one(func(r *view.Row) string { return attribute(r, "type") })})
	}
	return append(columns,
		column{title: "PROFILE", cell: one(profileText)},
		column{title: "MEMORY", cell: one(func(r *view.Row) string {
			if c, ok := view.Named(r.Capacity, "memory"); ok {
				return c.Value.String()
			}
			return ""
		})},
	)
}

func modelText(r *view.Row) string {
	return cmp.Or(attribute(r, "productName"), attribute(r, "model"), attribute(r, "modelName"),
		attribute(r, "product"), attribute(r, "type"))
}

func profileText(r *view.Row) string { return cmp.Or(r.Profile, attribute(r, "profile")) }

// typesDiffer says whether there are devices of one model and profile that differ in their types.
func typesDiffer(rows []view.Row) bool {
	types := make(map[string]string)
	return slices.ContainsFunc(rows, func(r view.Row) bool {
		alike, is := modelText(&r)+"\n"+profileText(&r), attribute(&r, "type")
		was, known := types[alike]
		types[alike] = is
		return known && was != is
	})
}

func stateTone(r *view.Row) tone {
	switch r.State {
	case view.Free:
		return good
	case view.InUse, view.Shared:
		return busy
	case view.Tainted, view.NotPublished, view.PoolIncomplete, view.PoolInvalid:
		return bad
	case view.Blocked, view.Gone:
		return faint
	case view.MaybeFree:
	}
	return plain
}
