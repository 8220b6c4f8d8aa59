// Package footprint is what a process has of the machine: processor time, memory, open files, system calls. It is read
// from outside, so the process may be any program.
package footprint

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/figures"
)

// Of reads what a process has now.
func Of(pid int) (figures.Process, error) {
	var p figures.Process
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, fmt.Errorf("look at process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		if err := read(&p, line); err != nil {
			return p, fmt.Errorf("read the status of process %d: %w", pid, err)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return p, fmt.Errorf("look at the open files of process %d: %w", pid, err)
	}
	p.OpenFiles = len(files)
	return p, nil
}

// read takes one line of /proc/PID/status, such as "VmRSS:     1234 kB".
func read(p *figures.Process, line string) error {
	name, value, _ := strings.Cut(line, ":")
	number, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
	bytes := map[string]*int64{"VmRSS": &p.RSS, "VmHWM": &p.PeakRSS, "RssAnon": &p.Anonymous}[name]
	switch {
	case name == "Threads":
		threads, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.Threads = threads
	case bytes != nil:
		kibibytes, err := strconv.ParseInt(number, 10, 64)
		if err != nil || unit != "kB" {
			return fmt.Errorf("%s is %q: expected a number of kB", name, strings.TrimSpace(value))
		}
		*bytes = kibibytes << 10
	}
	return nil
}

// CPU returns the processor time that all threads of a process have used so far, user and system, to the nanosecond.
func CPU(pid int) (time.Duration, error) {
	var spent unix.Timespec
	if err := unix.ClockGettime(clockOf(pid), &spent); err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, os.NewSyscallError("clock_gettime", err))
	}
	return time.Duration(spent.Nano()), nil
}

// clockOf is the kernel's number of the clock that runs while a process does (MAKE_PROCESS_CPUCLOCK).
func clockOf(pid int) int32 {
	const scheduled = 2 // CPUCLOCK_SCHED: counted exactly, not by ticks
	return int32(^pid<<3 | scheduled)
}
