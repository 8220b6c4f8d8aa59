package main

import "strings"

// level is where a fault is done to the driver.
type level string

// The levels, from the fastest to the most real one.
const (
	unit    level = "unit"    // to a part of it, with a file system or a cluster of the test's own making
	process level = "process" // to the real program, with a kubelet of the test's own making
	kind    level = "kind"    // to the driver's pod on a node
)

// levelOf knows at which level a package tests.
func levelOf(pkg string) level {
	switch {
	case strings.HasSuffix(pkg, "/e2e/cluster"):
		return kind
	case strings.Contains(pkg, "/e2e/"):
		return process
	}
	return unit
}

// row is one fault with what is expected, and the levels at which it has to be shown.
type row struct {
	fault  string
	levels []level
}

// rows is the fault table; the first row has number 1.
func rows() []row {
	p, u, both, real := []level{process}, []level{unit}, []level{unit, process}, []level{process, kind}
	return []row{
		{"killed between any two system calls", p},
		{"file system full", p},
		{"file system read-only or broken", p},
		{"record truncated, changed, empty, junk", both},
		{"record of a newer or older version", u},
		{"CDI directory or files removed", p},
		{"node restarted", real},
		{"API server down, slow or failing", p},
		{"claim deleted while it is prepared", p},
		{"claim made again under the same name", p},
		{"prepared again", p},
		{"calls for one claim at once", p},
		{"device owned by another claim", p},
		{"unprepare of what is unknown, or twice", p},
		{"unprepare after the device is gone", p},
		{"device unplugged, sick, flapping, new", p},
		{"kubelet restarted, slices wiped", real},
		{"driver stopped while it prepares", p},
		{"two instances, the older one hung", p},
		{"sockets of a killed instance", p},
		{"registry or sockets gone, GetInfo slow", p},
		{"clock jumps by an hour", p},
		{"hostile configuration in a claim", u},
		{"hostile names", u},
		{"another user on the sockets", u},
		{"out of file descriptors or inotify", p},
		{"out of memory, little CPU", p},
		{"slices refused, or fields dropped", p},
	}
}
