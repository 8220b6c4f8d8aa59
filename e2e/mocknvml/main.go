//go:build cgo

// Command mocknvml is a libnvidia-ml.so.1 that plays the GPUs of package fakegpu, for tests of the whole way from
// dlopen to the container on machines without a GPU:
//
//	go build -buildmode=c-shared -ldflags '-s -w -extldflags -Wl,-soname,libnvidia-ml.so.1' \
//	  -o libnvidia-ml.so.1 ./mocknvml
//
// The models are those of go-nvml's mock servers, with profile ids and placements as on the hardware. What the GPUs
// remember (MIG instances, modes) is in a file, so that processes see each other's changes, and a restart changes
// nothing. What has no function here answers NOT_SUPPORTED; see stubs.c.
//
// It finds its machine from where it was loaded: the nearest folder above it with fake-gpu/machine.json, or in
// FAKE_GPU_ROOT. Without one it has no driver (DRIVER_NOT_LOADED).
//
// It is longer than 500 lines because a library has many functions; each is a few lines between C and go-nvml's mocks.
package main

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

static const char *here(void) {
	Dl_info info;
	return dladdr((void *)here, &info) ? info.dli_fname : "";
}
*/
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

func main() {}

//nolint:gochecknoglobals // one per process, since functions of C have no receiver
var library = &session{handles: map[thing]unsafe.Pointer{}, things: map[unsafe.Pointer]thing{}}

// session is what lasts from the first nvmlInit to the last nvmlShutdown, and the handles, which last longer.
type session struct {
	mu      sync.Mutex
	inits   int
	driver  fakegpu.Driver
	machine fakegpu.Machine
	gpus    []gpu

	control fakegpu.Control
	stamp   any // of the control file that was read

	handles map[thing]unsafe.Pointer
	things  map[unsafe.Pointer]thing
	sets    map[unsafe.Pointer]*eventSet
}

// gpu is one GPU of the machine.
type gpu struct {
	model
	index int
	uuid  string
}

// thing is what a handle stands for.
type thing struct {
	kind        kind
	gpu, gi, ci int
	number      int // of an event set
}

type kind int

const (
	wholeGPU kind = iota
	migDevice
	gpuInstance
	computeInstance
	events
)

// handle returns the handle of a thing, always the same. It is memory of C, since the caller's garbage collector may
// see it, and is never given back: things come again.
func (s *session) handle(t thing) unsafe.Pointer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handles[t] == nil {
		s.handles[t] = C.calloc(1, 64)
		s.things[s.handles[t]] = t
	}
	return s.handles[t]
}

// of returns what a handle stands for.
func (s *session) of(handle unsafe.Pointer, kinds ...kind) (thing, nvml.Return) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.things[handle]
	if !ok || !slices.Contains(kinds, t.kind) {
		return thing{}, nvml.ERROR_INVALID_ARGUMENT
	}
	return t, nvml.SUCCESS
}

// noGPU is the index for calls that are about none.
const noGPU = -1

// enter is the beginning of each call: what the control file says of it, and whether the library is in use.
func (s *session) enter(call string, index int) nvml.Return {
	if ret := s.fault(call, index); ret != nvml.SUCCESS {
		return ret
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inits == 0 {
		return nvml.ERROR_UNINITIALIZED
	}
	if index != noGPU && slices.Contains(s.control.Lost, index) {
		return nvml.ERROR_GPU_IS_LOST
	}
	return nvml.SUCCESS
}

// fault does what the control file wants to happen to a call.
func (s *session) fault(call string, index int) nvml.Return {
	control := s.readControl()
	fault, named := control.Calls[call]
	if !named {
		fault = control.Calls["*"]
	}
	if len(fault.GPUs) > 0 && !slices.Contains(fault.GPUs, index) {
		return nvml.SUCCESS
	}
	if fault.Delay != "" {
		delay, err := time.ParseDuration(fault.Delay)
		if err != nil {
			complain(fmt.Errorf("delay of %s: %w", call, err))
		}
		time.Sleep(delay)
	}
	if fault.Return == "" {
		return nvml.SUCCESS
	}
	for ret, name := range returns() {
		if name == fault.Return {
			return ret
		}
	}
	complain(fmt.Errorf("the return value of %s is %q; there is no such", call, fault.Return))
	return nvml.ERROR_UNKNOWN
}

// readControl returns the control file's content, read again when it is another file.
func (s *session) readControl() fakegpu.Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.driver == "" {
		driver, err := find()
		if err != nil {
			complain(err)
			return fakegpu.Control{}
		}
		s.driver = driver
	}
	if stamp := any(s.driver.Stamp()); s.stamp != stamp {
		control, err := s.driver.Control()
		if err != nil {
			complain(err)
		}
		s.control, s.stamp = control, stamp
	}
	return s.control
}

// find returns the driver to which this library belongs.
func find() (fakegpu.Driver, error) {
	if root := os.Getenv("FAKE_GPU_ROOT"); root != "" {
		return fakegpu.Driver(root), nil
	}
	path, err := filepath.Abs(C.GoString(C.here()))
	if err != nil {
		return "", err
	}
	return fakegpu.Find(path)
}

// complain says on the standard error what is wrong with the files of the driver: it is a test that is wrong then.
func complain(err error) { fmt.Fprintln(os.Stderr, "mock libnvidia-ml.so.1:", err) }

// start is nvmlInit.
func (s *session) start(call string) nvml.Return {
	if ret := s.fault(call, noGPU); ret != nvml.SUCCESS {
		return ret
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inits > 0 {
		s.inits++
		return nvml.SUCCESS
	}
	if s.driver == "" {
		return nvml.ERROR_DRIVER_NOT_LOADED
	}
	machine, err := s.driver.Machine()
	if err != nil {
		complain(err)
		return nvml.ERROR_DRIVER_NOT_LOADED
	}
	known, all := models(), []gpu(nil)
	for index, name := range machine.GPUs {
		if known[name].Name == "" {
			complain(fmt.Errorf("there is no model %q", name))
			return nvml.ERROR_UNKNOWN
		}
		all = append(all, gpu{model: known[name], index: index, uuid: machine.UUID(index)})
	}
	s.machine, s.gpus, s.inits = machine, all, 1
	s.sets = map[unsafe.Pointer]*eventSet{}
	return nvml.SUCCESS
}

// stop is nvmlShutdown.
func (s *session) stop() nvml.Return {
	if ret := s.enter("nvmlShutdown", noGPU); ret != nvml.SUCCESS {
		return ret
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inits--
	return nvml.SUCCESS
}

// onGPU runs a call about a whole GPU.
func onGPU(call string, handle unsafe.Pointer, do func(g gpu) nvml.Return) C.uint {
	return on(call, handle, func(g gpu, _ thing) nvml.Return { return do(g) }, wholeGPU)
}

// on runs a call about a thing of one of the kinds, and about the GPU to which it belongs.
func on(call string, handle unsafe.Pointer, do func(g gpu, t thing) nvml.Return, kinds ...kind) C.uint {
	t, ret := library.of(handle, kinds...)
	index := t.gpu
	if ret != nvml.SUCCESS {
		index = noGPU
	}
	if ret := library.enter(call, index); ret != nvml.SUCCESS {
		return C.uint(ret)
	}
	if ret != nvml.SUCCESS || index >= len(library.gpus) {
		return C.uint(nvml.ERROR_INVALID_ARGUMENT)
	}
	return C.uint(do(library.gpus[index], t))
}

// onSystem runs a call about no GPU.
func onSystem(call string, do func() nvml.Return) C.uint {
	if ret := library.enter(call, noGPU); ret != nvml.SUCCESS {
		return C.uint(ret)
	}
	return C.uint(do())
}

// put writes an answer where the caller wants it.
func put[T any](to unsafe.Pointer, value T) nvml.Return {
	if to == nil {
		return nvml.ERROR_INVALID_ARGUMENT
	}
	*(*T)(to) = value
	return nvml.SUCCESS
}

// text writes an answer that is a string into a buffer.
func text(to *C.char, length C.uint, value string) nvml.Return {
	switch {
	case to == nil:
		return nvml.ERROR_INVALID_ARGUMENT
	case len(value) >= int(length):
		return nvml.ERROR_INSUFFICIENT_SIZE
	}
	buffer := unsafe.Slice((*byte)(unsafe.Pointer(to)), int(length))
	buffer[copy(buffer, value)] = 0
	return nvml.SUCCESS
}

// remembered returns what the GPU remembers.
func (g gpu) remembered() (*fakegpu.GPU, nvml.Return) {
	state, err := library.driver.State()
	if err != nil {
		complain(err)
		return nil, nvml.ERROR_UNKNOWN
	}
	return state.GPU(g.index), nvml.SUCCESS
}

// change changes what the GPU remembers, unless do returns something else than SUCCESS.
func (g gpu) change(do func(*fakegpu.GPU) nvml.Return) nvml.Return {
	ret := nvml.ERROR_UNKNOWN
	err := library.driver.Update(func(s *fakegpu.State) error {
		if ret = do(s.GPU(g.index)); ret != nvml.SUCCESS {
			return errUnchanged
		}
		return nil
	})
	switch {
	case err == nil, ret != nvml.SUCCESS:
		return ret
	default:
		complain(err)
		return nvml.ERROR_UNKNOWN
	}
}

// cString returns a string of C that nobody frees.
func cString(s string) *C.char {
	memory := (*C.char)(C.calloc(C.size_t(len(s)+1), 1))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(memory)), len(s)), s)
	return memory
}
