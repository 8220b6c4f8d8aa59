package figures_test

import (
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

const (
	mine  = "gpu.example.com"
	other = "rival.gpu.example.com"
)

// example is a report with figures of every kind.
func example() figures.Report {
	r := figures.Report{
		Began: time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC), Took: 492_000,
		Machine: figures.Machine{
			CPU: "Example 9000", Cores: 2, Memory: 24 << 10, Kernel: "6.1.0", OS: "Debian GNU/Linux 12", Disk: "ext4",
		},
		Kubernetes: "v1.34.3", Program: "dra-sanity v0.1.0",
		Drivers: []figures.Driver{
			{Name: mine, Command: "dragoman.sh"}, {Name: other, Command: "noopdriver <1 & 2>", Rival: true},
		},
		NotRun: []figures.NotRun{
			{Workload: "slice-writes", Driver: other, Reason: "it has no --change,\n so its devices stay as they are"},
			{Workload: "open-loop", Reason: "was left out by --skip"},
		},
	}
	for i, n := range []int{0, 10, 100, 1000, 10_000} {
		for _, driver := range []string{mine, other} {
			p50 := figures.Milliseconds(0.41) + 0.01*figures.Milliseconds(i)
			process := figures.Process{RSS: 38_200_000 + int64(n)*450, PeakRSS: 52e6, Anonymous: 20e6, OpenFiles: 14, Threads: 9}
			if driver == other {
				p50 /= 2
			}
			r.Measurements = append(r.Measurements,
				figures.Measurement{
					Workload: "prepared", Driver: driver, Situation: figures.Situation{Prepared: n}, Operation: "prepare",
					Latency: &figures.Latency{Count: 200, P50: p50, P90: 1.5 * p50, P99: 4 * p50, Max: 2600 * p50},
				},
				figures.Measurement{
					Workload: "prepared", Driver: driver, Situation: figures.Situation{Prepared: n}, Operation: "cycle",
					CPU: p50 * 1.4, Process: &process,
				})
		}
	}
	r.Measurements = append(r.Measurements, counts()...)
	r.Measurements = append(r.Measurements, starts()...)
	return withStorm(r)
}

// counts are of requests and system calls; of the rival, system calls were not counted.
func counts() []figures.Measurement {
	at := figures.Situation{Prepared: 100, APIDelay: 2}
	get, nothing := map[string]float64{"get resourceclaims": 1}, map[string]float64{}
	return []figures.Measurement{
		{Workload: "requests", Driver: mine, Situation: at, Operation: "prepare", Requests: get, PerClaim: true},
		{Workload: "requests", Driver: other, Situation: at, Operation: "prepare", Requests: get, PerClaim: true},
		{Workload: "requests", Driver: mine, Situation: at, Operation: "unprepare", Requests: nothing, PerClaim: true},
		{
			Workload: "requests", Driver: mine, Situation: at, Operation: "cycle", PerClaim: true,
			SystemCalls: map[string]float64{"all": 91.25, "fsync": 0, "fdatasync": 2, "openat": 7},
		},
	}
}

func starts() []figures.Measurement {
	at := figures.Situation{Devices: 10_000}
	return []figures.Measurement{
		{
			Workload: "start", Driver: mine, Situation: at, Operation: "start",
			Moments:  map[string]figures.Milliseconds{"registered": 61.2, "first slice": 1040, "complete": 2310},
			Requests: map[string]float64{"create resourceslices": 157, "list resourceslices": 1, "patch nodes": 0},
		},
		{
			Workload: "start", Driver: other, Situation: at, Operation: "start",
			Moments: map[string]figures.Milliseconds{"registered": 55, "complete": 125_000},
		},
		{
			Workload: "start", Driver: mine, Situation: figures.Situation{Devices: 8}, Operation: "start",
			Moments: map[string]figures.Milliseconds{"registered": 50, "first slice": 1040, "complete": 1040},
		},
	}
}

// withStorm adds a driver's storm of one situation alone, which the caption says.
func withStorm(r figures.Report) figures.Report {
	r.Measurements = append(r.Measurements, figures.Measurement{
		Workload: "storm", Driver: mine, Situation: figures.Situation{Callers: 110, APIDelay: 2}, Operation: "prepare",
		Latency: &figures.Latency{Count: 550, P50: 21, P90: 38.4, P99: 60, Max: 71.25}, Throughput: 1543.4,
	}, figures.Measurement{
		Workload: "storm", Driver: other, Situation: figures.Situation{Callers: 110, APIDelay: 2}, Operation: "prepare",
		Latency: &figures.Latency{Count: 550, Max: 0.25}, // too quick for its clock
	})
	return r
}
