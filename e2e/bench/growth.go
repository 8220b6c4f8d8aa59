package main

import (
	"fmt"
	"maps"
	"slices"

	"example.com/dragoman/pkg/sanity/figures"
)

// grown says what grows with what is prepared: calls that open or change files, or processor time. A driver also looks
// at all claims now and then, and a busy machine is slow, so what is found once may be chance; what grows is found each
// time. What was not measured is in it too.
func grown(r figures.Report) []string {
	v := view{r}
	return slices.Concat(v.fileCalls(), v.processorTime())
}

func (v view) fileCalls() (problems []string) {
	made := map[int]map[string]float64{}
	for _, n := range []int{few, many} {
		m, err := v.one(question{workload: "requests", operation: "cycle", at: withPrepared(n), has: hasSystemCalls})
		if err != nil {
			return []string{err.Error()}
		}
		made[n] = m.SystemCalls
	}
	// A call of something else that the driver does now and then.
	const slack, meanwhile = 1.01, 0.5
	for _, name := range slices.Sorted(maps.Keys(made[many])) {
		if opensOrChanges(name) && made[many][name] > slack*made[few][name]+meanwhile {
			problems = append(problems, fmt.Sprintf("prepare and unprepare make %g calls of %s for each claim beside %d "+
				"claims, and %g beside %d; expected no more: cost must not grow with what is prepared",
				made[many][name], name, many, made[few][name], few))
		}
	}
	return problems
}

// opensOrChanges says whether a system call opens or changes a file. Others come and go with how busy the machine is:
// those of the runtime for threads and timers, those of the network as messages are cut, and those that only look
// whether files are still there, which a driver does every few seconds, however long the counted calls take.
func opensOrChanges(name string) bool {
	return slices.Contains([]string{
		"open", "openat", "openat2", "creat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
		"unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "flock", "truncate", "ftruncate", "chmod", "fchmod", "fchmodat",
		"pread64", "pwrite64",
	}, name)
}

// processorTime may double: on a disk, and on a busy machine, it varies by half. Drivers with one file for all claims
// take 7 times as much beside 1000 claims, and those that list a directory as much more as there are files.
func (v view) processorTime() []string {
	const limit = 2.0
	spent := map[int]figures.Milliseconds{}
	for _, n := range []int{few, many} {
		m, err := v.one(question{workload: "prepared", operation: "cycle", at: withPrepared(n), has: hasCPU})
		if err != nil {
			return []string{err.Error()}
		}
		spent[n] = m.CPU
	}
	if spent[many] <= limit*spent[few] {
		return nil
	}
	return []string{fmt.Sprintf("prepare and unprepare take %s of processor time beside %d claims, and %s beside %d; "+
		"expected at most %g times as much", spent[many], many, spent[few], few, limit)}
}
