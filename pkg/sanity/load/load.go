// Package load holds the workloads of "dra-sanity load": how long a DRA driver's answers take, what they cost, and how
// both grow with what is prepared, published and asked at once.
//
// A rival is measured in the same run, one operation of one and one of the other, so that whatever else the machine
// does meets both. The room is larger than others because it is a list too, a file for each kind of workload.
package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/footprint"
)

// Side is one driver under load.
type Side struct {
	// Driver is the name under which it registers. No two sides have the same one.
	Driver string
	// Start is a command line for sh that is the driver, in the foreground.
	Start string
	// Change is a command line for sh that changes the devices of a running driver; "" if there is none.
	Change string
	// Rival says that it is there to be compared with.
	Rival bool
}

// Options say what is measured, and where.
type Options struct {
	// Sides are the driver, and its rival if there is one.
	Sides []Side
	// Kubeconfig leads to the API server, with the rights of an administrator.
	Kubeconfig string
	// Throwaway says that the API server ends with the run, so that nothing has to be removed from it.
	Throwaway bool
	// Root is a directory for everything, with a short name: paths of sockets are limited to 107 bytes.
	Root string
	// Volatile is a directory for what is lost with a boot on nodes, below /run: CDI files, and what drivers remember of
	// prepared claims. It should be on tmpfs, as it is there; "" is for Root.
	Volatile string
	// Delay is what the API server takes for each request besides its own time, in the workloads that have a delay.
	Delay time.Duration
	// Prepared are the numbers of claims that are prepared already, ascending.
	Prepared []int
	// Devices are the numbers of devices to publish, ascending.
	Devices []int
	// Rounds is how often an operation is timed.
	Rounds int
	// Strace is the program that counts system calls; "" if there is none.
	Strace string
	// Seed of what is left to chance: when the claims of an open loop come.
	Seed uint64
	// Say is told what is going on, a line at a time; may be nil.
	Say func(line string)
	// Output gets what the drivers say, besides their logs; may be nil.
	Output io.Writer
}

// Workload is something that drivers are made to do while it is measured.
type Workload struct {
	// Name is stable: reports and scripts use it.
	Name string
	// About is what is measured, in one sentence.
	About string
	// Source is where such a load comes from.
	Source string

	run func(context.Context, *rig) error
}

// Workloads returns all of them, in the order in which they run.
func Workloads() []Workload {
	var all []Workload
	for _, some := range [][]Workload{prepareWorkloads(), sliceWorkloads()} {
		all = append(all, some...)
	}
	return all
}

// Failure is what a driver did that ended a workload for it: an answer with an error, or its own end.
type Failure struct {
	Workload, Driver string
	Err              error
	// Log is the end of what the driver said.
	Log string
}

func (f *Failure) Error() string {
	text := fmt.Sprintf("%s: %s: %v", f.Workload, f.Driver, f.Err)
	if f.Log != "" {
		text += "\n" + f.Log
	}
	return text
}

func (f *Failure) Unwrap() error { return f.Err }

// Run runs workloads one after the other. What could be measured is in the report, whatever the error is. The error
// holds a [Failure] for each driver that failed under a workload, and whatever else kept one from running.
func Run(ctx context.Context, options Options, workloads []Workload) (figures.Report, error) {
	began := time.Now()
	machine := footprint.Machine(cmp.Or(options.Volatile, options.Root))
	r := &rig{Options: options, report: figures.Report{Began: began.UTC(), Machine: machine}}
	version, err := cluster.Version(options.Kubeconfig)
	if err != nil {
		return r.report, err
	}
	r.report.Kubernetes = version
	for _, side := range options.Sides {
		driver := figures.Driver{Name: side.Driver, Command: side.Start, Rival: side.Rival}
		r.report.Drivers = append(r.report.Drivers, driver)
	}
	for _, w := range workloads {
		r.workload = w.Name
		r.say("%s", w.About)
		if err := w.run(ctx, r); err != nil {
			r.broken("", err)
		}
		if err := ctx.Err(); err != nil {
			r.problems = append(r.problems, fmt.Errorf("the run was ended before all was measured: %w", err))
			break
		}
	}
	r.report.Took = figures.Of(time.Since(began))
	return r.report, errors.Join(r.problems...)
}

// rig is a run.
type rig struct {
	Options
	workload string // that runs now

	mutex    sync.Mutex
	report   figures.Report
	problems []error
	sites    int
}

// add adds a measurement of the workload that runs to the report.
func (r *rig) add(m figures.Measurement) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	m.Workload = r.workload
	r.report.Measurements = append(r.report.Measurements, m)
}

// notRun says in the report why something of the workload was not measured. That is no error.
func (r *rig) notRun(driver, reason string, arguments ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	why := figures.NotRun{Workload: r.workload, Driver: driver, Reason: fmt.Sprintf(reason, arguments...)}
	r.report.NotRun = append(r.report.NotRun, why)
}

// broken says why a workload could not go on, for one driver or for all.
func (r *rig) broken(driver string, err error) {
	r.notRun(driver, "%v", err)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.problems = append(r.problems, fmt.Errorf("%s: %w", r.workload, err))
}

// failed takes note of what a driver did wrong.
func (r *rig) failed(s *site, err error) {
	f := &Failure{Workload: r.workload, Driver: s.side.Driver, Err: err, Log: s.log()}
	r.notRun(s.side.Driver, "the driver failed: %v", err)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.problems = append(r.problems, f)
}

func (r *rig) say(line string, arguments ...any) {
	if r.Say != nil {
		r.Say(r.workload + ": " + fmt.Sprintf(line, arguments...))
	}
}
