package figures

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// JSON writes the report for programs.
func JSON(w io.Writer, r Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Read returns the report that [JSON] wrote, also that of a newer version: fields that it does not know are left out.
// What is not a report, or names drivers that it does not list, is an error.
func Read(from io.Reader) (Report, error) {
	var r Report
	decoder := json.NewDecoder(from)
	if err := decoder.Decode(&r); err != nil {
		return Report{}, fmt.Errorf("read the report: it is not one in JSON: %w", err)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Report{}, errors.New("read the report: there is something after its end; one file holds one report")
	}
	if err := r.check(); err != nil {
		return Report{}, fmt.Errorf("read the report: %w", err)
	}
	return r, nil
}

// check finds what no run of ours says.
func (r Report) check() error {
	if len(r.Drivers) == 0 {
		return errors.New(`"drivers" is empty or missing; expected what "dra-sanity load -o json" prints`)
	}
	known := map[string]bool{}
	for i, d := range r.Drivers {
		if d.Name == "" || known[d.Name] {
			return fmt.Errorf("drivers[%d].name is %q; expected a name, and each driver once", i, d.Name)
		}
		known[d.Name] = true
	}
	for i, m := range r.Measurements {
		if m.Workload == "" || m.Operation == "" {
			return fmt.Errorf("measurements[%d] does not say what was measured: workload is %q, operation is %q",
				i, m.Workload, m.Operation)
		}
		if !known[m.Driver] {
			return fmt.Errorf("measurements[%d].driver is %q, which is not among the drivers", i, m.Driver)
		}
	}
	for i, n := range r.NotRun {
		if n.Workload == "" || n.Reason == "" || n.Driver != "" && !known[n.Driver] {
			return fmt.Errorf("notRun[%d] must have a workload, a reason, and none or one of the drivers: it is %+v", i, n)
		}
	}
	return nil
}
