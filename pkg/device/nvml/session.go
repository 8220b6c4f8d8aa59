//go:build cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/dl"
	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/pkg/device"
)

const (
	// openPatience is how long a look waits for the library to initialise. Without persistence mode it starts each GPU
	// up, which takes seconds for each.
	openPatience = 25 * time.Second
	// askPatience is how long a look waits for one GPU, or for the library to count them.
	askPatience = 10 * time.Second
)

const libraryName = "libnvidia-ml.so.1"

// session is the time between the initialisation of the library and its end. Whoever calls the library through it says
// so with enter and leave: the library is shut down after the last one left, which a call that hangs may never do.
type session struct {
	lib  nvml.Interface
	path string
	file os.FileInfo // at path when it was loaded
	// driver and cuda are the versions of the driver and of the newest CUDA that it supports ("580.95.05", 13000);
	// empty and 0 if unknown.
	driver string
	cuda   int
	// over is closed when the session is.
	over chan struct{}

	machine slot[machine]

	mu      sync.Mutex
	users   int
	ended   bool
	looks   map[int]*slot[*gpu]
	symbols map[string]bool
}

// machine is what the library says of all GPUs together.
type machine struct {
	count  int
	driver string
}

func newSession(lib nvml.Interface, path string, file os.FileInfo) *session {
	return &session{
		lib: lib, path: path, file: file, over: make(chan struct{}),
		looks: map[int]*slot[*gpu]{}, symbols: map[string]bool{},
	}
}

// enter says that the library is going to be called. After the end nobody may.
func (s *session) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.users++
	return true
}

func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.ended && s.users == 0 {
		go func() { _ = s.lib.Shutdown() }() // which may hang
	}
}

// end ends the session. Another one may begin at once; the library counts.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	close(s.over)
	if s.users == 0 {
		go func() { _ = s.lib.Shutdown() }() // which may hang
	}
}

func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// has tells whether the library has a function. Calling one that it does not have ends the process: go-nvml binds
// functions when they are called first.
func (s *session) has(symbol string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, asked := s.symbols[symbol]
	if !asked {
		known = s.lib.Extensions().LookupSymbol(symbol) == nil
		s.symbols[symbol] = known
	}
	return known
}

// errOver is the answer to whoever comes after the end of a session.
var errOver = &callError{"NVML session", nvml.ERROR_UNINITIALIZED}

// count asks for the number of GPUs and the version of the driver.
func (s *session) count(ctx context.Context) (machine, error) {
	return s.machine.do(ctx, askPatience, "ask NVML for the number of GPUs", func() (machine, error) {
		if !s.enter() {
			return machine{}, errOver
		}
		defer s.leave()
		count, code := s.lib.DeviceGetCount()
		if code != nvml.SUCCESS {
			return machine{}, called("nvmlDeviceGetCount", code)
		}
		version, code := s.lib.SystemGetDriverVersion()
		if err := called("nvmlSystemGetDriverVersion", code); endsSession(err) {
			return machine{}, err
		}
		return machine{count, version}, nil
	})
}

// look returns the slot in which the GPU with an index is looked at.
func (s *session) look(index int) *slot[*gpu] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looks[index] == nil {
		s.looks[index] = &slot[*gpu]{}
	}
	return s.looks[index]
}

// open returns the session, which it begins if there is none. Where the node has no GPU, the error is errNoGPUs.
func (b *Backend) open(ctx context.Context) (*session, error) {
	if s := b.current(); s != nil {
		return s, nil
	}
	return b.opening.do(ctx, openPatience, "initialise NVML", func() (*session, error) {
		if s := b.current(); s != nil {
			return s, nil
		}
		return b.openNow()
	})
}

// current returns the session, or nil if there is none.
func (b *Backend) current() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session == nil || b.session.isOver() {
		return nil
	}
	return b.session
}

// attempt is what came of trying one file as the library.
type attempt struct {
	path string
	err  error
}

func (a attempt) String() string { return fmt.Sprintf("%s (%s)", a.path, a.err) }

func (b *Backend) openNow() (*session, error) {
	paths, searched := b.libraries()
	var attempts []attempt
	for _, path := range paths {
		s, err := b.try(path)
		if err != nil {
			attempts = append(attempts, attempt{path, err})
			continue
		}
		b.mu.Lock()
		b.session, b.loaded = s, s.file
		b.mu.Unlock()
		return s, nil
	}
	return nil, b.whyNot(attempts, searched)
}

// errReplaced says that a file is not the library that this process has. It can have no other one: the dynamic linker
// binds the functions that go-nvml calls once, to the first library, and never unloads it.
var errReplaced = errors.New("another file than the one that this process has loaded")

// libraryFile returns the file at a path, or nil if there is none.
func libraryFile(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// replaced tells whether the library of the session is not what is installed any more.
func (s *session) replaced() bool {
	now := libraryFile(s.path)
	return now == nil || s.file == nil || !os.SameFile(s.file, now)
}

// libraries returns the files that may be the library, and where they were searched.
func (b *Backend) libraries() (paths, searched []string) {
	if b.options.LibraryPath != "" {
		return []string{b.options.LibraryPath}, []string{b.options.LibraryPath}
	}
	return b.options.driver().Libraries(libraryName)
}

// try begins a session with the library at a path.
func (b *Backend) try(path string) (*session, error) {
	file := libraryFile(path)
	b.mu.Lock()
	loaded := b.loaded
	b.mu.Unlock()
	if loaded != nil && (file == nil || !os.SameFile(loaded, file)) {
		return nil, errReplaced
	}
	lib := b.options.Library(path)
	if code := lib.Init(); code == nvml.ERROR_LIBRARY_NOT_FOUND {
		return nil, errors.Join(called("nvmlInit", code), whyNotLoaded(path))
	} else if code != nvml.SUCCESS {
		return nil, called("nvmlInit", code)
	}
	s := newSession(lib, path, file)
	var code nvml.Return
	if s.driver, code = lib.SystemGetDriverVersion(); code != nvml.SUCCESS {
		b.warnOnce("the driver does not tell its version", "err", called("nvmlSystemGetDriverVersion", code))
	}
	if s.cuda, code = lib.SystemGetCudaDriverVersion(); code != nvml.SUCCESS {
		b.warnOnce("the driver does not tell its CUDA version", "err", called("nvmlSystemGetCudaDriverVersion", code))
	}
	return s, nil
}

// whyNotLoaded returns what the dynamic linker says about a library, which go-nvml does not pass on.
func whyNotLoaded(path string) error {
	library := dl.New(path, dl.RTLD_LAZY|dl.RTLD_LOCAL)
	if err := library.Open(); err != nil {
		return err
	}
	return library.Close()
}

// whyNot says what it means that no session could begin.
func (b *Backend) whyNot(attempts []attempt, searched []string) error {
	missed, err := b.options.missedGPUs()
	if err != nil {
		return &CannotLookError{What: err.Error(), Mend: "the driver's pod needs /sys of the node"}
	}
	b.mu.Lock()
	opened := b.loaded != nil
	b.mu.Unlock()
	var tried []string
	absent, mismatch, replaced := true, false, false
	for _, a := range attempts {
		tried = append(tried, a.String())
		absent = absent && (errors.Is(a.err, nvml.ERROR_DRIVER_NOT_LOADED) ||
			errors.Is(a.err, nvml.ERROR_LIBRARY_NOT_FOUND) || errors.Is(a.err, nvml.ERROR_GPU_NOT_FOUND))
		mismatch = mismatch || errors.Is(a.err, nvml.ERROR_LIB_RM_VERSION_MISMATCH)
		replaced = replaced || errors.Is(a.err, errReplaced)
	}
	switch {
	case len(missed) == 0 && absent && !opened:
		return errNoGPUs
	case len(attempts) == 0:
		return &CannotLookError{
			What:     b.seen(missed) + libraryName + " of NVIDIA's driver is not there",
			Searched: below(b.options.DriverRoot, searched),
			Mend:     "install the driver, or set nvml.driverRoot to where it is, or nvml.libraryPath to the library",
		}
	}
	e := &CannotLookError{
		What:     b.seen(missed) + "NVML cannot be initialised",
		Searched: tried,
		Mend:     `see that the kernel modules of the driver are loaded ("lsmod | grep nvidia", "dmesg | grep NVRM")`,
	}
	if mismatch {
		e.Mend = "the driver was updated: load its new kernel modules or reboot the node"
	}
	if replaced || mismatch && opened {
		e.Restart = true
		e.Mend = "the driver was updated: this process has to start again to load its new library"
	}
	return e
}

// seen begins a sentence with what is on the PCI bus.
func (b *Backend) seen(missed []pciGPU) string {
	if len(missed) == 0 {
		return ""
	}
	text := fmt.Sprintf("the node has %d NVIDIA GPUs, but ", len(missed))
	for _, g := range missed {
		if g.driver != "" && !strings.HasPrefix(g.driver, "nvidia") {
			return text + fmt.Sprintf("%s is bound to the kernel driver %q, and ", g.address, g.driver)
		}
	}
	return text
}

// below returns directories of a root as this process sees them.
func below(root string, dirs []string) []string {
	var paths []string
	for _, dir := range dirs {
		paths = append(paths, moved(dir, "/", root))
	}
	return paths
}

// errNoGPUs says that the node has no NVIDIA GPU, which is no problem.
var errNoGPUs = errors.New("the node has no NVIDIA GPU")

// CannotLookError says that nobody can know which GPUs the node has.
type CannotLookError struct {
	// What is wrong, a sentence without a full stop.
	What string
	// Searched are the files that were tried, with what came of it, or the directories in which none was.
	Searched []string
	// Mend says what to do.
	Mend string
	// Restart says that it cannot get better before this process is started again; then the error is a
	// [device.ErrNeedsRestart] too.
	Restart bool
}

// Unwrap returns [device.ErrNeedsRestart] if that is so.
func (e *CannotLookError) Unwrap() error {
	if e.Restart {
		return device.ErrNeedsRestart
	}
	return nil
}

func (e *CannotLookError) Error() string {
	text := "look at the NVIDIA GPUs: " + e.What
	if len(e.Searched) > 0 {
		text += "; tried: " + strings.Join(e.Searched, ", ")
	}
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	return text
}
