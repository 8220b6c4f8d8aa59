package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/dir"
)

// What the machine was told is in <Dir>/_controls/controls.json. The folder has a name that no claim can have.
const (
	controlsFolder = "_controls"
	controlsFile   = "controls.json"
	controlsLock   = "lock"
	// maxControls is more than a change of each device takes.
	maxControls = 16 << 20
	bootIDFile  = "/proc/sys/kernel/random/boot_id"
	onlyForUs   = 0o700
)

// told is what the machine was told, as it was read last. Several processes tell and read.
type told struct {
	mu   sync.Mutex
	boot string
	// good is the last content of the file that could be understood, controls what it says.
	good     []byte
	controls controls
	// looked is the content that the last look at the devices found, of whatever kind it was.
	looked []byte
	// now is what the controls make of the machine of the profile.
	now     device.Snapshot
	byName  map[string]int
	profile device.Snapshot
}

func (b *Backend) controlsDir() dir.Dir {
	return dir.At(filepath.Join(b.options.Dir, controlsFolder), onlyForUs)
}

// readTold reads the file. Content that is an error is returned, too.
func (b *Backend) readTold() (raw []byte, err error) {
	raw, err = b.controlsDir().Read(controlsFile, maxControls+1)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return []byte(err.Error()), err
	case len(raw) > maxControls:
		return raw, fmt.Errorf("it has more than %d bytes", maxControls)
	}
	return raw, nil
}

// understand makes the content of the file what the machine was told. As long as it cannot be understood, what it said
// before holds.
func (b *Backend) understand(raw []byte, problem error) error {
	t := &b.told
	if t.boot == "" {
		t.boot = bootID()
		t.controls = noControls(t.boot)
	}
	if problem == nil && bytes.Equal(raw, t.good) {
		return nil
	}
	c := t.controls
	if problem == nil {
		c, problem = decodeControls(raw, t.boot)
	}
	if problem != nil {
		return fmt.Errorf("read what the machine was told: %s: %w; \"dragoman mock reset\" forgets it",
			b.controlsDir().File(controlsFile), problem)
	}
	t.good, t.controls, t.byName = raw, c, nil
	return nil
}

// bootID tells this boot of the node from others. Where the kernel has none, all boots are one.
func bootID() string {
	raw, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(raw))
}

// look returns what there is, by what the machine was told.
func (b *Backend) look() (device.Snapshot, error) {
	raw, problem := b.readTold()
	b.told.mu.Lock()
	defer b.told.mu.Unlock()
	b.told.looked = raw
	if err := b.understand(raw, problem); err != nil {
		return device.Snapshot{}, err
	}
	now, _ := b.machine()
	return now, nil
}

// there returns what there is, with the place of each device, by what was read last of what the machine was told.
func (b *Backend) there() (now device.Snapshot, byName map[string]int) {
	b.told.mu.Lock()
	defer b.told.mu.Unlock()
	return b.machine()
}

// machine puts the profile and what was told together, again only if one of them has changed. It is called with the
// lock of told.
func (b *Backend) machine() (now device.Snapshot, byName map[string]int) {
	t, profile := &b.told, b.ofProfile()
	if t.byName == nil || !sameList(t.profile.Devices, profile.Devices) {
		t.profile, t.now = profile, t.controls.over(profile, b.options.NodeName)
		t.byName = make(map[string]int, len(t.now.Devices))
		for i, d := range t.now.Devices {
			t.byName[d.Name] = i
		}
	}
	return t.now, t.byName
}

// sameList says whether two lists are the same one. Lists of devices are replaced, never changed.
func sameList(a, b []device.Device) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// toldMore says whether the machine was told something since the devices were looked at last.
func (b *Backend) toldMore() bool {
	raw, _ := b.readTold() //nolint:errcheck // the content says it
	b.told.mu.Lock()
	defer b.told.mu.Unlock()
	return !bytes.Equal(raw, b.told.looked)
}

// obey reads what the machine was told, and does to a call what that says. When it cannot be read, what it was told
// before holds.
func (b *Backend) obey(ctx context.Context, name call) error {
	raw, problem := b.readTold()
	b.told.mu.Lock()
	_ = b.understand(raw, problem) // a look at the devices tells of it
	control, ok := b.told.controls.Calls[name]
	b.told.mu.Unlock()
	if !ok {
		return nil
	}
	if err := wait(ctx, control.Slow.Duration); err != nil {
		return fmt.Errorf("%s was told to take %s longer: %w", name, control.Slow.Duration, err)
	}
	if control.Fail == nil {
		return nil
	}
	return b.fail(name, *control.Fail)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fail returns the error of a call that is to fail, if it still is, and counts that. One that cannot be counted fails.
func (b *Backend) fail(name call, told failure) error {
	if told.Times == 0 {
		return errors.New(told.Message)
	}
	failed := false
	_, err := b.Tell(Command{counts: true, change: func(c *controls, _ machine) (string, error) {
		control := c.Calls[name]
		if failed = control.Fail != nil; !failed {
			return "", nil
		}
		left := *control.Fail
		if left.Times--; left.Times > 0 {
			control.Fail = &left
		} else {
			control.Fail = nil
		}
		c.tellCall(name, control)
		return "", nil
	}})
	if failed || err != nil {
		return errors.New(told.Message)
	}
	return nil
}

// Tell has the machine do what the command says, from now on until it is told otherwise or the node reboots, and
// returns what that is. Running drivers see it at once, this process and others. An unknown device is an error that
// says which there are.
func (b *Backend) Tell(c Command) (said string, err error) {
	folder := b.controlsDir()
	if !c.onlyShows {
		err := dir.At(b.options.Dir, forAllToEnter).Make()
		if err == nil {
			err = folder.Make()
		}
		if err != nil {
			return "", folder.Explain("make a folder for what the machine is told", err)
		}
		lock, err := folder.Lock(controlsLock, true)
		if err != nil {
			return "", folder.Explain("tell the machine", err)
		}
		defer lock.Unlock()
	}
	raw, problem := b.readTold()
	b.told.mu.Lock()
	defer b.told.mu.Unlock()
	if err := b.understand(raw, problem); err != nil && !c.resets {
		return "", err
	}
	told := b.told.controls.clone()
	now, _ := b.machine()
	said, err = c.change(&told, machine{node: b.options.NodeName, profile: b.ofProfile(), now: now})
	if err != nil || c.onlyShows {
		return said, err
	}
	after, err := b.writeTold(raw, told)
	if err == nil && c.counts && bytes.Equal(b.told.looked, raw) {
		b.told.looked = after
	}
	return said, err
}

// writeTold replaces the content of the file and returns the new one. It is called with the lock of the folder.
func (b *Backend) writeTold(before []byte, c controls) (after []byte, err error) {
	folder := b.controlsDir()
	if len(c.Devices) == 0 && len(c.Calls) == 0 {
		return nil, folder.Explain("forget what the machine was told", folder.Remove(controlsFile))
	}
	after, err = c.encode()
	if err != nil {
		return nil, fmt.Errorf("write what the machine was told: %w", err)
	}
	if len(after) > maxControls {
		return nil, fmt.Errorf("the machine was told too much already: %d bytes are more than %d", len(after), maxControls)
	}
	if bytes.Equal(after, before) {
		return after, nil
	}
	return after, folder.Explain("write what the machine was told",
		folder.Replace(controlsFile, controlsFile+temporary, after, 0o600))
}
