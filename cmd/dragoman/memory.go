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

// settleAfter is how long after slices were published the memory is settled. The controller of the DRA library compares
// them in between, which takes memory, too.
const settleAfter = 3 * time.Second

// saveMemory has garbage collected early until it is known how large the machine is; see settleMemory.
func saveMemory(getenv func(string) string) {
	if getenv("GOGC") == "" { // which the runtime reads itself, and which wins
		debug.SetGCPercent(littleGarbage)
	}
}

// settleMemory is called after slices were published: what that took goes back to the system. Garbage as large as the
// memory in use is a few MB on most machines, and makes preparing claims cheap. On one with thousands of devices it
// would be more than all the rest, and there garbage is collected early.
func settleMemory(getenv func(string) string) {
	debug.FreeOSMemory()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if getenv("GOGC") != "" || live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	if live[0].Value.Uint64() < largeHeap {
		debug.SetGCPercent(usualGarbage)
	} else {
		debug.SetGCPercent(littleGarbage)
	}
}
