package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

// follow prints the devices, and then each one whose row is another than before. It ends with the context, which is how
// people end it.
func (d *devicesCommand) follow(ctx context.Context, want collect.Want) error {
	collector, err := d.collector()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &deviceWatch{command: d}
	err = collector.Watch(ctx, want, func(cluster *view.Cluster) {
		if err := w.changed(cluster); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) {
			return nil
		}
		return cause
	}
	return err
}

// deviceWatch remembers what was printed.
type deviceWatch struct {
	command *devicesCommand

	mu sync.Mutex
	// columns and table are those of the first time; nil before.
	columns []column
	table   *table
	// printed is what was printed of each device that is listed, last.
	printed map[view.DeviceID]printedRow
}

type printedRow struct {
	row view.Row
	// shows is what there was to see, however wide the columns were.
	shows string
}

// changed prints what is another than before.
func (w *deviceWatch) changed(cluster *view.Cluster) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	options := w.command.options
	options.Free, options.Namespace = false, "" // a device that is taken now is not gone
	listing, err := view.Devices(cluster, options)
	if err != nil {
		return err
	}
	all := listing.Devices
	listing.Devices = slices.DeleteFunc(slices.Clone(all), func(r view.Row) bool { return !w.command.options.Shows(&r) })
	page := w.command.newScreen()
	if w.printed == nil {
		w.command.unseen(cluster)
		if withoutDevices(cluster) {
			return errNoSight
		}
		w.command.tell(listing, cluster)
		w.begin(page, listing.Devices)
	}
	if err := w.add(page, listing.Devices, all); err != nil {
		return err
	}
	return page.printTo(w.command.streams.Out)
}

// begin chooses the columns, and prints their titles.
func (w *deviceWatch) begin(page *screen, rows []view.Row) {
	w.printed = make(map[view.DeviceID]printedRow)
	w.columns = w.command.columns(rows)
	if len(rows) > 0 {
		w.columns = filled(w.columns, rows)
	}
	w.table = newDevicesTable(w.columns, rows)
	w.table.measure()
	if !w.forPrograms() {
		w.table.writeRow(page, titles(w.table.header))
	}
}

func (w *deviceWatch) forPrograms() bool {
	return w.command.format.value == "json" || w.command.format.value == "yaml"
}

// add prints the listed rows that are another than before, and once more those that are not listed any more: as they
// are now, or as they were and gone.
func (w *deviceWatch) add(page *screen, listed, all []view.Row) error {
	is := make(map[view.DeviceID]bool, len(listed))
	for _, r := range listed {
		id := r.ID()
		is[id] = true
		shows, err := w.shows(&r)
		if err != nil {
			return err
		}
		if w.printed[id].shows != shows {
			w.write(page, &r, shows)
		}
		w.printed[id] = printedRow{row: r, shows: shows}
	}
	now := make(map[view.DeviceID]view.Row, len(all))
	for _, r := range all {
		now[r.ID()] = r
	}
	for _, id := range slices.SortedFunc(maps.Keys(w.printed), view.DeviceID.Compare) {
		if is[id] {
			continue
		}
		r, there := now[id]
		if !there {
			r = w.printed[id].row
			r.State, r.Reason, r.UsedBy, r.BlockedBy = view.Gone, "", nil, nil
		}
		delete(w.printed, id)
		shows, err := w.shows(&r)
		if err != nil {
			return err
		}
		w.write(page, &r, shows)
	}
	return nil
}

// shows is what there is to see of a row: an object, or the text of the cells.
func (w *deviceWatch) shows(r *view.Row) (string, error) {
	var object []byte
	var err error
	switch w.command.format.value {
	case "json":
		object, err = json.MarshalIndent(r, "", "    ")
		object = append(object, '\n')
	case "yaml":
		object, err = yaml.Marshal(r)
		object = append([]byte("---\n"), object...)
	default:
		var cells []string
		for _, cell := range devicesRow(w.columns, r) {
			cells = append(cells, strings.Join(cell.lines, "\n"))
		}
		return strings.Join(cells, "\t"), nil
	}
	if err != nil {
		return "", fmt.Errorf("print device %s: %w", r.ID(), err)
	}
	return string(object), nil
}

func (w *deviceWatch) write(page *screen, r *view.Row, shows string) {
	if w.forPrograms() {
		page.verbatim(shows)
		return
	}
	row := devicesRow(w.columns, r)
	w.table.widen(row)
	w.table.writeRow(page, row)
}
