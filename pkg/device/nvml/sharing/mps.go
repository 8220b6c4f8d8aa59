//go:build cgo

package sharing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// MPS runs control daemons, one for each claim and configuration. A daemon is described by files below Dir, which must
// not outlive the boot; no process has to remember it. All methods may be called concurrently, by several processes
// too; those about one daemon wait for each other.
type MPS struct {
	// Dir is where the daemons have their directories: the same path here and on the host.
	Dir string
	// Root is the root directory of the driver as this process sees it.
	Root string
	// Program finds nvidia-cuda-mps-control below Root when it is needed: "/usr/bin/nvidia-cuda-mps-control".
	Program func() (string, error)
	// Self is the program whose sub-command "mps-daemon" is [RunDaemon], and Arguments what it is called with, for
	// example that sub-command.
	Self      string
	Arguments []string
	// ControlGroups is where the control groups of the host are: "/sys/fs/cgroup". Empty: daemons stay in the group of
	// this process.
	ControlGroups string
	// Plain starts daemons without a mount namespace and a root directory of their own. It takes no privileges.
	Plain bool
}

// Daemon says what a control daemon is to be.
type Daemon struct {
	// UUIDs are the GPUs, or the MIG device, that it serves.
	UUIDs []string `json:"uuids"`
	// ThreadPercentage and MemoryLimits (by UUID, as "1024M") are the limits of each client; none if missing.
	ThreadPercentage *int              `json:"threadPercentage,omitempty"`
	MemoryLimits     map[string]string `json:"memoryLimits,omitempty"`
}

// DaemonOf says which daemon a configuration asks for, for devices with these UUIDs in the order of the allocation.
func DaemonOf(config *gpuv1alpha1.MPSConfig, uuids []string) (Daemon, error) {
	d := Daemon{UUIDs: uuids, ThreadPercentage: config.DefaultActiveThreadPercentage, MemoryLimits: map[string]string{}}
	if limit := config.DefaultPinnedDeviceMemoryLimit; limit != nil {
		for _, uuid := range uuids {
			d.MemoryLimits[uuid] = megabytes(limit.Value())
		}
	}
	for key, limit := range config.DefaultPerDevicePinnedMemoryLimit {
		uuid := key
		if index, err := strconv.Atoi(key); err == nil {
			if index < 0 || index >= len(uuids) {
				return Daemon{}, fmt.Errorf("mpsConfig.defaultPerDevicePinnedMemoryLimit[%s]: the configuration applies to %d "+
					"devices, counted from 0", key, len(uuids))
			}
			uuid = uuids[index]
		}
		if !slices.Contains(uuids, uuid) {
			return Daemon{}, fmt.Errorf("mpsConfig.defaultPerDevicePinnedMemoryLimit[%s]: the claim did not get this device, "+
				"but %s; name it by its index", key, strings.Join(uuids, ", "))
		}
		d.MemoryLimits[uuid] = megabytes(limit.Value())
	}
	return d, nil
}

// megabytes is how the control program wants bytes; its M are Mi.
func megabytes(bytes int64) string { return fmt.Sprintf("%dM", bytes>>20) }

var daemonPattern = regexp.MustCompile(`^([0-9a-zA-Z-]{1,64})-[0-9]{1,4}$`)

// ID names the daemon for the devices of a claim of which the first is number first of all.
func ID(claim types.UID, first int) string { return fmt.Sprintf("%s-%d", claim, first) }

// Edits are what lets a container use a daemon.
func (m *MPS) Edits(id string) *cdispecs.ContainerEdits {
	mount := func(dir, inside string) *cdispecs.Mount {
		return &cdispecs.Mount{
			HostPath: filepath.Join(m.Dir, id, dir), ContainerPath: inside,
			Options: []string{"rw", "nosuid", "nodev", "bind"},
		}
	}
	return &cdispecs.ContainerEdits{
		Env:    []string{"CUDA_MPS_PIPE_DIRECTORY=" + pipeInside},
		Mounts: []*cdispecs.Mount{mount(pipeDir, pipeInside), mount(shmDir, shmInside)},
	}
}

// Start has a daemon run and returns when it answers and was told its limits. One that runs already is left alone.
func (m *MPS) Start(ctx context.Context, id string, d Daemon) error {
	if !daemonPattern.MatchString(id) {
		return fmt.Errorf("start MPS daemon %q: its name must be that of a claim with a number", id)
	}
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return fmt.Errorf("start MPS daemon %s: %w", id, err)
	}
	defer unlock()
	if err = m.layOut(id, d); err == nil {
		err = m.start(ctx, id, d)
	}
	if err != nil {
		return fmt.Errorf("start MPS daemon %s: %w", id, err)
	}
	return nil
}

// layOut makes the directories and writes down what the daemon is to be.
func (m *MPS) layOut(id string, d Daemon) error {
	dir := filepath.Join(m.Dir, id)
	for _, name := range []string{pipeDir, logDir, shmDir} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		// The servers run as the users of the clients, whoever they are; nobody else sees the directories.
		if err := os.Chmod(path, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, specFile), raw)
}

func (m *MPS) start(ctx context.Context, id string, d Daemon) error {
	running, there := m.process(id)
	if !there || !running.alive() {
		if there {
			m.killGroup(running, syscall.SIGKILL) // a server that outlived its control daemon
		}
		if err := m.spawn(ctx, id); err != nil {
			return err
		}
	}
	if err := m.awaitAnswer(ctx, id); err != nil {
		return err
	}
	return m.configure(ctx, id, d)
}

// process returns the process that was started last for a daemon.
func (m *MPS) process(id string) (process, bool) {
	var p process
	raw, err := os.ReadFile(filepath.Join(m.Dir, id, processFile))
	return p, err == nil && json.Unmarshal(raw, &p) == nil && p.PID > 1
}

func readSpec(dir string) (Daemon, error) {
	var d Daemon
	raw, err := os.ReadFile(filepath.Join(dir, specFile))
	if err == nil {
		err = json.Unmarshal(raw, &d)
	}
	if err != nil {
		return d, fmt.Errorf("read what the daemon is to be: %w", err)
	}
	return d, nil
}

// helper is this program as [RunDaemon].
func (m *MPS) helper(id string, arguments ...string) (*exec.Cmd, error) {
	program, err := m.Program()
	if err != nil {
		return nil, err
	}
	all := append(slices.Clone(m.Arguments), "-dir", filepath.Join(m.Dir, id), "-root", m.Root, "-program", program)
	c := exec.Command(m.Self, append(all, arguments...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if m.Plain {
		c.Args = append(c.Args, "-plain")
	} else {
		c.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	return c, nil
}

// spawn starts the daemon and returns when it has said which process it is, or ended.
func (m *MPS) spawn(ctx context.Context, id string) error {
	dir := filepath.Join(m.Dir, id)
	for _, stale := range []string{processFile, configuredFile} {
		if err := os.Remove(filepath.Join(dir, stale)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := empty(filepath.Join(dir, pipeDir)); err != nil { // sockets that nobody listens to
		return err
	}
	output, err := os.OpenFile(filepath.Join(dir, outputFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	c, err := m.helper(id, "-cgroups", m.ControlGroups)
	if err != nil {
		return err
	}
	c.Stdout, c.Stderr = output, output
	if err := c.Start(); err != nil {
		return err
	}
	go func() { _ = c.Wait() }() // so that it does not stay as a zombie
	for {
		if p, there := m.process(id); there && p.PID == c.Process.Pid {
			return nil
		}
		if _, runs, err := statOf(c.Process.Pid); err != nil || !runs {
			return m.ended(id)
		}
		if err := wait(ctx); err != nil {
			_ = c.Process.Kill()
			return err
		}
	}
}

func empty(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.RemoveAll(filepath.Join(dir, file.Name())); err != nil {
			return err
		}
	}
	return nil
}

// ended is the error for a daemon that is not there any more, with the end of what it wrote.
func (m *MPS) ended(id string) error {
	wrote, err := os.ReadFile(filepath.Join(m.Dir, id, outputFile))
	if err != nil || len(wrote) == 0 {
		return errors.New("it ended at once without a word")
	}
	return fmt.Errorf("it ended at once: %s", brief(string(wrote)))
}

// wait returns after a short pause, or with an error if ctx ends before.
func wait(ctx context.Context) error {
	const pause = 25 * time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitAnswer returns when the daemon answers.
func (m *MPS) awaitAnswer(ctx context.Context, id string) error {
	for {
		answer := m.tell(ctx, id, "get_server_list")
		if answer == nil {
			return nil
		}
		if p, there := m.process(id); !there || !p.alive() {
			return m.ended(id)
		}
		if err := wait(ctx); err != nil {
			return errors.Join(err, answer)
		}
	}
}

// complaint finds what the control program says instead of ending with an error.
var complaint = regexp.MustCompile(`(?i)\b(cannot|could not|invalid|error|fail(ed|ure)?|unknown|unrecogni[sz]ed)\b`)

// tell has a client of the control program send one command.
func (m *MPS) tell(ctx context.Context, id, command string) error {
	const patience = 3 * time.Second
	client, err := m.helper(id, "-client")
	if err != nil {
		return err
	}
	client.Stdin = strings.NewReader(command + "\n")
	text, err := answer(ctx, patience, client)
	if err == nil && complaint.MatchString(text) {
		err = errors.New(brief(text))
	}
	if err != nil {
		return fmt.Errorf("tell it %q: %w", command, err)
	}
	return nil
}

// configure tells the daemon its limits, once for each process that it is.
func (m *MPS) configure(ctx context.Context, id string, d Daemon) error {
	file := filepath.Join(m.Dir, id, configuredFile)
	current, err := os.ReadFile(filepath.Join(m.Dir, id, processFile))
	if err != nil {
		return err
	}
	if known, err := os.ReadFile(file); err == nil && string(known) == string(current) {
		return nil
	}
	var commands []string
	if d.ThreadPercentage != nil {
		commands = append(commands, fmt.Sprintf("set_default_active_thread_percentage %d", *d.ThreadPercentage))
	}
	for _, uuid := range d.UUIDs {
		if limit := d.MemoryLimits[uuid]; limit != "" {
			commands = append(commands, fmt.Sprintf("set_default_device_pinned_mem_limit %s %s", uuid, limit))
		}
	}
	for _, command := range commands {
		if err := m.tell(ctx, id, command); err != nil {
			return err
		}
	}
	return replace(file, current)
}

// Stop ends a daemon and removes all that it left. One that is not there is no error.
func (m *MPS) Stop(ctx context.Context, id string) error {
	if _, err := os.Stat(filepath.Join(m.Dir, id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return fmt.Errorf("stop MPS daemon %s: %w", id, err)
	}
	defer unlock()
	dir := filepath.Join(m.Dir, id)
	err = os.Remove(filepath.Join(dir, specFile)) // nobody starts it again from now on
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = m.end(ctx, id)
	}
	if err = cmp.Or(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("stop MPS daemon %s: %w", id, err)
	}
	return os.Remove(m.lockFile(id))
}

// end asks the daemon to end, and then no longer asks.
func (m *MPS) end(ctx context.Context, id string) error {
	p, there := m.process(id)
	if !there {
		return nil
	}
	const polite, soon = 2 * time.Second, time.Second
	if p.alive() {
		_ = m.tell(ctx, id, "quit")
	}
	for _, next := range []struct {
		patience time.Duration
		signal   syscall.Signal
	}{{polite, syscall.SIGTERM}, {soon, syscall.SIGKILL}, {polite, 0}} {
		limit, cancel := context.WithTimeout(ctx, next.patience)
		for p.alive() && wait(limit) == nil {
			continue
		}
		cancel()
		if !p.alive() {
			m.killGroup(p, syscall.SIGKILL)
			return nil
		}
		m.killGroup(p, next.signal)
	}
	return fmt.Errorf("process %d does not end", p.PID)
}

// killGroup sends a signal to a daemon and all processes that it started. It spares a process that has its number by
// chance: as long as processes of the group are there, nobody else gets the number.
func (m *MPS) killGroup(p process, signal syscall.Signal) {
	if start, _, err := statOf(p.PID); err == nil && start != p.Start {
		return
	}
	_ = syscall.Kill(-p.PID, signal)
}

// Daemons returns the names of all daemons, sorted.
func (m *MPS) Daemons() ([]string, error) {
	dirs, err := os.ReadDir(m.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the MPS daemons: %w", err)
	}
	var ids []string
	for _, dir := range dirs {
		if dir.IsDir() && daemonPattern.MatchString(dir.Name()) {
			ids = append(ids, dir.Name())
		}
	}
	return ids, nil
}

// StopFor stops all daemons of claims for which which answers true.
func (m *MPS) StopFor(ctx context.Context, which func(types.UID) bool) error {
	ids, err := m.Daemons()
	problems := []error{err}
	for _, id := range ids {
		if which(types.UID(daemonPattern.FindStringSubmatch(id)[1])) {
			problems = append(problems, m.Stop(ctx, id))
		}
	}
	return errors.Join(problems...)
}

// Revive starts the daemons again that have ended although nobody stopped them, with the same limits, and returns the
// names of those that had to be started.
func (m *MPS) Revive(ctx context.Context) ([]string, error) {
	ids, err := m.Daemons()
	problems := []error{err}
	var revived []string
	for _, id := range ids {
		if p, there := m.process(id); there && p.alive() {
			continue
		}
		again, err := m.revive(ctx, id)
		problems = append(problems, err)
		if again {
			revived = append(revived, id)
		}
	}
	return revived, errors.Join(problems...)
}

// revive looks again when nobody else works on the daemon: it may just be started or stopped.
func (m *MPS) revive(ctx context.Context, id string) (bool, error) {
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return false, fmt.Errorf("revive MPS daemon %s: %w", id, err)
	}
	defer unlock()
	d, err := readSpec(filepath.Join(m.Dir, id))
	if errors.Is(err, os.ErrNotExist) {
		if _, gone := os.Stat(filepath.Join(m.Dir, id)); gone != nil {
			return false, os.Remove(m.lockFile(id)) // it was stopped, and only this lock is new
		}
		return false, nil
	}
	if p, there := m.process(id); err == nil && there && p.alive() {
		return false, nil
	}
	if err == nil {
		err = m.start(ctx, id, d)
	}
	if err != nil {
		return false, fmt.Errorf("revive MPS daemon %s: %w", id, err)
	}
	return true, nil
}

func (m *MPS) lockFile(id string) string { return filepath.Join(m.Dir, id+".lock") }

// lock waits until nobody else starts or stops the daemon, in this process and in others.
func (m *MPS) lock(ctx context.Context, id string) (unlock func(), err error) {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return nil, err
	}
	for {
		file, err := os.OpenFile(m.lockFile(id), os.O_CREATE|os.O_RDWR, 0o640)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && sameFile(file, m.lockFile(id)) {
			return func() { _ = file.Close() }, nil
		}
		_ = file.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		if err := wait(ctx); err != nil {
			return nil, fmt.Errorf("wait for somebody else who starts or stops it: %w", err)
		}
	}
}

// sameFile tells whether the lock is still the one that others see: it goes away with its daemon.
func sameFile(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}
