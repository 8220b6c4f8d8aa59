package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestFault27TheRuntimeKnowsTheContainersMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	const untouched = math.MaxInt64 - 1
	for name, tc := range map[string]struct {
		env  map[string]string
		want int64
	}{
		"a limit":                     {map[string]string{"MEMORY_LIMIT": "268435456"}, 241591910},
		"GOMEMLIMIT wins":             {map[string]string{"MEMORY_LIMIT": "268435456", "GOMEMLIMIT": "1GiB"}, untouched},
		"no limit":                    {nil, untouched},
		"one that cannot be read":     {map[string]string{"MEMORY_LIMIT": "256Mi"}, untouched},
		"zero, which would stop work": {map[string]string{"MEMORY_LIMIT": "0"}, untouched},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetMemoryLimit(untouched)
			limitMemory(func(key string) string { return tc.env[key] })
			if got := debug.SetMemoryLimit(-1); got != tc.want {
				t.Errorf("the limit is %d, want %d", got, tc.want)
			}
		})
	}
}

func TestALargeMachineLeavesLittleGarbage(t *testing.T) {
	before := debug.SetGCPercent(77)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	percent := func() int {
		now := debug.SetGCPercent(77)
		debug.SetGCPercent(now)
		return now
	}
	unset := func(string) string { return "" }
	saveMemory(unset)
	if got := percent(); got != littleGarbage {
		t.Errorf("at the start: %d %%", got)
	}
	machine := make([]byte, 2*largeHeap)
	settleMemory(unset)
	if got := percent(); got != littleGarbage {
		t.Errorf("with a large heap: %d %%", got)
	}
	runtime.KeepAlive(machine)
	runtime.GC() // which comes by itself every two minutes
	settleMemory(unset)
	if got := percent(); got != usualGarbage {
		t.Errorf("with a small heap: %d %%", got)
	}
	machine = make([]byte, 2*largeHeap)
	settleMemory(unset)
	if got := percent(); got != littleGarbage {
		t.Errorf("with a heap that became large: %d %%", got)
	}
	runtime.KeepAlive(machine)

	debug.SetGCPercent(33)
	saveMemory(func(string) string { return "33" })
	settleMemory(func(string) string { return "33" })
	if got := percent(); got != 33 {
		t.Errorf("GOGC=33 became %d %%", got)
	}
}

func TestWhatManyPodsTookGoesBack(t *testing.T) {
	before := debug.SetGCPercent(-1) // so that nothing else collects
	t.Cleanup(func() { debug.SetGCPercent(before) })
	unset := func(string) string { return "" }
	burst := func(bytes int) (spare int64) {
		debug.FreeOSMemory()
		debug.SetGCPercent(-1)
		garbage := make([]byte, bytes)
		runtime.KeepAlive(garbage)
		settleMemory(unset)
		now := readMemory()
		return now.taken - now.live
	}
	const pods = 8 * worthwhile
	if spare := burst(pods); spare >= pods/2 { // what other tests have left between their objects is spare, too
		t.Errorf("%d bytes of garbage are still there", spare)
	}
	if spare := burst(worthwhile / 4); spare < worthwhile/4 {
		t.Errorf("garbage of one pod was collected: %d bytes are left", spare)
	}
}
