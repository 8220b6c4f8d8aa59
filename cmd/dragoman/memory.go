package main

import (
	"math"
	"runtime/debug"
	"strconv"
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
