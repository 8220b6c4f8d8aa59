//go:build cgo

package sharing

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Where the daemon and its clients find each other. Both see the same paths: the daemon in a mount namespace of its
// own, the clients in their containers. They are short because a socket's path may have 107 characters only.
const (
	pipeInside = "/tmp/nvidia-mps"
	logInside  = "/tmp/nvidia-log"
	shmInside  = "/dev/shm"
)

// The files of a daemon, below its directory.
const (
	specFile       = "spec.json"  // what it is to be; gone while it is being stopped
	processFile    = "process"    // which process it is
	configuredFile = "configured" // which process was told its limits
	pipeDir        = "pipe"
	logDir         = "log"
	shmDir         = "shm"
	outputFile     = "log/output"
)

// process is a process that is not mixed up with a later one of the same number.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks after the boot, field 22 of /proc/<pid>/stat
}

// thisProcess and processNumber read /proc, which must be that of the PID namespace of this process.
func thisProcess() (process, error) {
	pid := os.Getpid()
	start, _, err := statOf(pid)
	return process{pid, start}, err
}

// statOf returns when a process began and whether it runs. A zombie does not.
func statOf(pid int) (start uint64, runs bool, err error) {
	const state, started = 0, 19 // fields 3 and 22, counted from behind the name
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false, err
	}
	_, rest, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) <= started {
		return 0, false, fmt.Errorf("read /proc/%d/stat: has %d fields only", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[started], 10, 64)
	return start, fields[state] != "Z" && fields[state] != "X", err
}

// alive tells whether the process still runs.
func (p process) alive() bool {
	start, runs, err := statOf(p.PID)
	return err == nil && runs && start == p.Start
}

// RunDaemon is a program of its own, which [MPS] starts: it prepares its surroundings and becomes the control program
// of MPS, as daemon or as the client that tells a daemon something. It never returns without an error.
//
// Its surroundings: a mount namespace of its own, in which the daemon's directories are at their short paths; the root
// directory of the driver; and, for the daemon, a control group outside of its pod, so that it survives an update of
// the driver.
func RunDaemon(_ context.Context, arguments []string) error {
	flags := flag.NewFlagSet("mps-daemon", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the daemon")
	root := flags.String("root", "/", "root directory of the driver")
	program := flags.String("program", "", "control program, below the root directory of the driver")
	plain := flags.Bool("plain", false, "no mounts, no other root directory")
	cgroups := flags.String("cgroups", "", "where the control groups are; empty: the daemon stays in its own")
	client := flags.Bool("client", false, "tell the daemon what comes on standard input")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	launch := launch{dir: *dir, root: *root, program: *program, plain: *plain, client: *client}
	if err := launch.run(*cgroups); err != nil {
		return fmt.Errorf("run the MPS control program: %w", err)
	}
	return nil
}

type launch struct {
	dir, root, program string
	plain, client      bool
}

func (l launch) run(cgroups string) error {
	environment := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	pipe, log := pipeInside, logInside
	if l.plain {
		pipe, log = filepath.Join(l.dir, pipeDir), filepath.Join(l.dir, logDir)
	}
	environment = append(environment, "CUDA_MPS_PIPE_DIRECTORY="+pipe, "CUDA_MPS_LOG_DIRECTORY="+log)
	arguments := []string{path.Base(l.program)}
	if !l.client {
		spec, err := readSpec(l.dir)
		if err != nil {
			return err
		}
		environment = append(environment, spec.environment()...)
		arguments = append(arguments, "-f")
		l.leaveControlGroup(cgroups)
		if err := l.writeProcess(); err != nil {
			return err
		}
	}
	program := l.program
	if l.plain {
		program = filepath.Join(l.root, l.program)
	} else if err := l.moveIn(); err != nil {
		return err
	}
	if err := syscall.Exec(program, arguments, environment); err != nil {
		return fmt.Errorf("execute %s below %s: %w", l.program, l.root, err)
	}
	return nil
}

// environment has the limits too: between its start and the first command the daemon serves clients already. It counts
// the devices in the order of CUDA_VISIBLE_DEVICES.
func (d Daemon) environment() []string {
	all := []string{"CUDA_VISIBLE_DEVICES=" + strings.Join(d.UUIDs, ",")}
	if d.ThreadPercentage != nil {
		all = append(all, fmt.Sprintf("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%d", *d.ThreadPercentage))
	}
	var limits []string
	for i, uuid := range d.UUIDs {
		if limit := d.MemoryLimits[uuid]; limit != "" {
			limits = append(limits, fmt.Sprintf("%d=%s", i, limit))
		}
	}
	if len(limits) > 0 {
		all = append(all, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT="+strings.Join(limits, ","))
	}
	return all
}

// writeProcess says which process the daemon is, before it is one: whoever comes later finds it, or nothing to find.
func (l launch) writeProcess() error {
	self, err := thisProcess()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(self)
	if err != nil {
		return err
	}
	return replace(filepath.Join(l.dir, processFile), raw)
}

// moveIn makes the daemon's directories appear at their short paths below the driver's root, which becomes the root.
// All of it is seen by nobody else: this process has a mount namespace of its own.
func (l launch) moveIn() error {
	inside := func(path string) string { return filepath.Join(l.root, path) }
	var sources []*os.File
	for _, dir := range []string{pipeDir, logDir, shmDir} { // opened first: what follows may hide them
		source, err := os.Open(filepath.Join(l.dir, dir))
		if err != nil {
			return err
		}
		defer func() { _ = source.Close() }()
		sources = append(sources, source)
	}
	if err := syscall.Mount("tmpfs", inside("/tmp"), "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a private directory on %s: %w", inside("/tmp"), err)
	}
	for i, target := range []string{pipeInside, logInside, shmInside} {
		if target != shmInside {
			if err := os.Mkdir(inside(target), 0o755); err != nil {
				return err
			}
		}
		source := fmt.Sprintf("/proc/self/fd/%d", sources[i].Fd())
		if err := syscall.Mount(source, inside(target), "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", sources[i].Name(), inside(target), err)
		}
	}
	if err := syscall.Chroot(l.root); err != nil {
		return fmt.Errorf("change the root directory to %s: %w", l.root, err)
	}
	return os.Chdir("/")
}
