//go:build cgo

package main

import "C"

import (
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

// pace is how often a waiting caller looks at the control file.
const pace = 50 * time.Millisecond

// supported are the event types that GPUs have.
const supported = nvml.EventTypeSingleBitEccError | nvml.EventTypeDoubleBitEccError | nvml.EventTypePState |
	nvml.EventTypeXidCriticalError | nvml.EventTypeClock | nvml.EventTypeGpuUnavailableError |
	nvml.EventTypeGpuRecoveryAction

// eventSet is an event set: which events of which GPUs it waits for, and those that it has had.
type eventSet struct {
	mu    sync.Mutex
	types map[int]uint64
	had   map[identity]bool
}

// identity is what tells events apart.
type identity struct {
	id  string
	gpu int
	xid uint64
}

func key(e fakegpu.Event) identity { return identity{e.ID, e.GPU, e.XID} }

func eventType(e fakegpu.Event) uint64 {
	if e.Type == 0 {
		return nvml.EventTypeXidCriticalError
	}
	return e.Type
}

// instances returns the ids of the instances of an event; the whole GPU is 0xFFFFFFFF twice.
func instances(e fakegpu.Event) (gi, ci uint32) {
	gi, ci = 0xFFFFFFFF, 0xFFFFFFFF
	if e.GPUInstance != nil {
		gi = *e.GPUInstance
	}
	if e.ComputeInstance != nil {
		ci = *e.ComputeInstance
	}
	return gi, ci
}

//export nvmlEventSetCreate
func nvmlEventSetCreate(to unsafe.Pointer) C.uint {
	return onSystem("nvmlEventSetCreate", func() nvml.Return {
		library.mu.Lock()
		number := len(library.sets)
		library.mu.Unlock()
		handle := library.handle(thing{kind: events, number: number})
		library.mu.Lock()
		defer library.mu.Unlock()
		library.sets[handle] = &eventSet{types: map[int]uint64{}, had: map[identity]bool{}}
		return put(to, handle)
	})
}

// set returns the event set of a handle.
func (s *session) set(handle unsafe.Pointer) (*eventSet, nvml.Return) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.sets[handle]; set != nil {
		return set, nvml.SUCCESS
	}
	return nil, nvml.ERROR_INVALID_ARGUMENT
}

//export nvmlEventSetFree
func nvmlEventSetFree(handle unsafe.Pointer) C.uint {
	return onSystem("nvmlEventSetFree", func() nvml.Return {
		if _, ret := library.set(handle); ret != nvml.SUCCESS {
			return ret
		}
		library.mu.Lock()
		defer library.mu.Unlock()
		library.sets[handle] = nil
		return nvml.SUCCESS
	})
}

//export nvmlDeviceGetSupportedEventTypes
func nvmlDeviceGetSupportedEventTypes(device, types unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetSupportedEventTypes", device, func(gpu) nvml.Return {
		return put(types, uint64(supported))
	})
}

//export nvmlDeviceRegisterEvents
func nvmlDeviceRegisterEvents(device unsafe.Pointer, types C.ulonglong, handle unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceRegisterEvents", device, func(g gpu) nvml.Return {
		set, ret := library.set(handle)
		if ret != nvml.SUCCESS {
			return ret
		}
		if uint64(types)&^supported != 0 {
			return nvml.ERROR_NOT_SUPPORTED
		}
		before := library.readControl().Events
		set.mu.Lock()
		defer set.mu.Unlock()
		for _, e := range before {
			if e.GPU == g.index {
				set.had[key(e)] = true
			}
		}
		set.types[g.index] |= uint64(types)
		return nvml.SUCCESS
	})
}

//export nvmlEventSetWait_v2
func nvmlEventSetWait_v2(handle, data unsafe.Pointer, milliseconds C.uint) C.uint {
	end := time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
	return onSystem("nvmlEventSetWait_v2", func() nvml.Return {
		set, ret := library.set(handle)
		if ret != nvml.SUCCESS {
			return ret
		}
		for {
			if e, ok := set.next(library.readControl()); ok {
				gi, ci := instances(e)
				return put(data, struct {
					device      unsafe.Pointer
					kind, value uint64
					gi, ci      uint32
				}{library.handle(thing{kind: wholeGPU, gpu: e.GPU}), eventType(e), e.XID, gi, ci})
			}
			left := time.Until(end)
			if left <= 0 {
				return nvml.ERROR_TIMEOUT
			}
			time.Sleep(min(pace, left))
			if set.lost(library.readControl()) {
				return nvml.ERROR_GPU_IS_LOST
			}
		}
	})
}

// next takes the next event for the set.
func (s *eventSet) next(control fakegpu.Control) (fakegpu.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range control.Events {
		if s.types[e.GPU]&eventType(e) != 0 && !s.had[key(e)] {
			s.had[key(e)] = true
			return e, true
		}
	}
	return fakegpu.Event{}, false
}

// lost says whether one of the set's GPUs is.
func (s *eventSet) lost(control fakegpu.Control) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(control.Lost, func(index int) bool { return s.types[index] != 0 })
}
