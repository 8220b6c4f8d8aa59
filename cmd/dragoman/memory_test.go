package main

import (
	"math"
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
