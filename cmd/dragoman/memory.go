package main

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// memoryShare is the part of the container's limit that the Go runtime tries to stay within. The rest is for what it
// does not see: stacks of threads, libraries, the kernel's share.
const memoryShare = 0.9

// limitMemory has the Go runtime collect garbage harder near the container's memory limit, in bytes in the variable
// MEMORY_LIMIT, rather than have the kernel kill the process there. GOMEMLIMIT, which the runtime reads itself, wins.
// It returns the limit that was set, 0 for none.
func limitMemory(getenv func(string) string) int64 {
	limit, err := strconv.ParseInt(getenv("MEMORY_LIMIT"), 10, 64)
	if getenv("GOMEMLIMIT") != "" || err != nil || limit <= 0 || limit == math.MaxInt64 {
		return 0
	}
	limit = int64(memoryShare * float64(limit))
	debug.SetMemoryLimit(limit)
	return limit
}

// How much garbage may come together before it is collected, in percent of the memory in use.
const (
	littleGarbage = 40
	usualGarbage  = 100 // Go's default
	// largeHeap is how many bytes a process has in use on a machine with thousands of devices.
	largeHeap = 16 << 20
)

// settleAfter is how long after slices were published, or the last claim was prepared or unprepared, the memory is
// settled. The controller of the DRA library compares slices in between, which takes memory, too.
const settleAfter = 3 * time.Second

// worthwhile is how many bytes have to be to spare for a collection of garbage at rest. One pod leaves much less.
const worthwhile = 4 << 20

// saveMemory has garbage collected early until it is known how large the machine is; see settleMemory.
func saveMemory(getenv func(string) string) {
	if getenv("GOGC") == "" { // which the runtime reads itself, and which wins
		debug.SetGCPercent(littleGarbage)
	}
}

// settleMemory is called when there is nothing to do for a while: what publishing, or many pods at once, took goes back
// to the system. Garbage as large as the memory in use is a few MB on most machines, and makes preparing claims cheap.
// On one with thousands of devices it would be more than all the rest, and there garbage is collected early.
func settleMemory(getenv func(string) string) {
	if now := readMemory(); now.taken-now.live >= worthwhile {
		debug.FreeOSMemory()
	}
	if getenv("GOGC") != "" {
		return
	}
	if readMemory().live < largeHeap {
		debug.SetGCPercent(usualGarbage)
	} else {
		debug.SetGCPercent(littleGarbage)
	}
}

// heapMemory is in bytes.
type heapMemory struct {
	live  int64 // in use when garbage was collected last
	taken int64 // from the system, and not given back
}

func readMemory() heapMemory {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	var memory heapMemory
	for i, sample := range samples {
		switch {
		case sample.Value.Kind() != metrics.KindUint64: // unknown to this version of Go
		case i == 0:
			memory.live = int64(sample.Value.Uint64()) //nolint:gosec // no machine has as much
		default:
			memory.taken += int64(sample.Value.Uint64()) //nolint:gosec // no machine has as much
		}
	}
	return memory
}
