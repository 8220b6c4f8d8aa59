// Package figures is what a load run measured: a report that machines read as JSON and people as a table and a plot.
// Nothing here measures.
//
// The room is larger than others because people read the same figures in three ways, each with rules of its own.
package figures

import "time"

// Report is one run. Its JSON is for programs, so fields are added and not renamed.
type Report struct {
	// Began is when the run began, in UTC.
	Began time.Time `json:"began"`
	// Took is how long all of it took.
	Took    Milliseconds `json:"tookMs"`
	Machine Machine      `json:"machine"`
	// Kubernetes is the version of the API server, such as v1.34.3; Program that of the program which measured.
	Kubernetes string `json:"kubernetes"`
	Program    string `json:"program"`
	// Drivers are the driver under load and, if there is one, its rival; measurements name them.
	Drivers []Driver `json:"drivers"`
	// Measurements are in the order in which they were taken, a rival's next to those that they are compared with.
	Measurements []Measurement `json:"measurements"`
	// NotRun are the measurements that could not be taken, with the reason.
	NotRun []NotRun `json:"notRun,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	CPU    string `json:"cpu"`       // model name
	Cores  int    `json:"cores"`     // that this process may use
	Memory int64  `json:"memoryMiB"` // of the machine
	Kernel string `json:"kernel"`
	OS     string `json:"os"`
	// Disk is the file system of the driver's records and CDI files, such as ext4 or tmpfs.
	Disk string `json:"disk"`
}

// Driver is one of the drivers that were measured.
type Driver struct {
	Name    string `json:"name"`
	Command string `json:"command"` // that starts it
	Rival   bool   `json:"rival,omitempty"`
}

// Measurement is what was seen of one driver in one situation.
type Measurement struct {
	// Workload is the stable name of what was done, such as "prepared", "callers", "start".
	Workload string `json:"workload"`
	// Driver is the name of a [Driver] of the report.
	Driver    string    `json:"driver"`
	Situation Situation `json:"situation"`
	// Operation is what was timed or counted within the workload: "prepare", "prepare-again", "unprepare", or "start",
	// "restart-unchanged" and so on.
	Operation string `json:"operation"`
	// Latency is of single calls; nil where none were made one by one.
	Latency *Latency `json:"latency,omitempty"`
	// Throughput is claims per second over the whole of the operation; 0 where it says nothing.
	Throughput float64 `json:"throughput,omitempty"`
	// Moments are times since the beginning, such as "registered", "first slice", "complete".
	Moments map[string]Milliseconds `json:"momentsMs,omitzero"`
	// Requests are the driver's requests to the API server by "verb resource", such as "get resourceclaims"; for each
	// claim if PerClaim is set, else all of the operation. Empty: they were counted, and there were none; nil: they were
	// not counted.
	Requests map[string]float64 `json:"requests,omitzero"`
	// SystemCalls are counts by name; fsync is there, as 0, if system calls were counted at all. PerClaim holds here too.
	SystemCalls map[string]float64 `json:"systemCalls,omitzero"`
	PerClaim    bool               `json:"perClaim,omitempty"`
	// CPU is the driver's processor time, user and system, for each claim, of a prepare and unprepare.
	CPU Milliseconds `json:"cpuMs,omitempty"`
	// Process is what the driver's process had of the machine afterwards.
	Process *Process `json:"process,omitempty"`
}

// Flushes are the system calls that wait for a disk, if system calls were counted.
func (m Measurement) Flushes() (n float64, counted bool) {
	for _, name := range []string{"fsync", "fdatasync", "syncfs", "sync_file_range", "sync"} {
		n += m.SystemCalls[name]
	}
	return n, m.SystemCalls != nil
}

// Situation is what may differ between two measurements of one workload; what does not matter is zero.
type Situation struct {
	Prepared int          `json:"prepared"`             // claims that are prepared already
	Claims   int          `json:"claims,omitempty"`     // in one call
	Callers  int          `json:"callers,omitempty"`    // at once
	Rate     float64      `json:"rate,omitempty"`       // claims per second, of an open loop
	Devices  int          `json:"devices,omitempty"`    // that the driver publishes
	APIDelay Milliseconds `json:"apiDelayMs,omitempty"` // that the API server takes for each request, besides its own
}

// Latency are times of calls.
type Latency struct {
	Count int          `json:"count"`
	P50   Milliseconds `json:"p50Ms"`
	P90   Milliseconds `json:"p90Ms"`
	P99   Milliseconds `json:"p99Ms"`
	Max   Milliseconds `json:"maxMs"`
}

// Process is what a process has of the machine. Bytes are bytes.
type Process struct {
	RSS       int64 `json:"rssBytes"`     // resident now
	PeakRSS   int64 `json:"peakRSSBytes"` // since it was started
	Anonymous int64 `json:"anonymousRSSBytes"`
	OpenFiles int   `json:"openFiles"`
	Threads   int   `json:"threads"`
}

// NotRun is a measurement that was not taken.
type NotRun struct {
	Workload string `json:"workload"`
	Driver   string `json:"driver,omitempty"`
	Reason   string `json:"reason"`
}

// Milliseconds is a time in milliseconds.
type Milliseconds float64

// Of is a duration in milliseconds.
func Of(d time.Duration) Milliseconds { return Milliseconds(float64(d) / float64(time.Millisecond)) }
