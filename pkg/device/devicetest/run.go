package devicetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
)

// patience is how long a call may take that has to end by itself.
const patience = 10 * time.Second

// Run checks a backend that has at least one device. newBackend makes a fresh one, with its own state, for each check;
// config is a configuration that the backend accepts for any of its devices.
func Run(t *testing.T, newBackend func(t *testing.T) device.Backend, config runtime.Object) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(t.Context(), subject{newBackend(t), config}); err != nil {
				t.Error(err)
			}
		})
	}
}

// check is one promise of the contract.
type check struct {
	name string
	run  func(ctx context.Context, s subject) error
}

func checks() []check {
	return []check{
		{"devices have unique names and values that the API accepts", devicesAreValid},
		{"a device and its parts exclude each other", partsExcludeTheWhole},
		{"shares of one device can be told apart", sharesAreApart},
		{"devices are the same when asked again", devicesAreStable},
		{"prepare grants each device in the order of the request", prepareGrantsInOrder},
		{"prepare gives the same answer to the same question", prepareIsIdempotent},
		{"prepare returns what it remembered last", prepareRemembers},
		{"prepare fails when remembering does", prepareNeedsMemory},
		{"prepare refuses a device that is not there", prepareRefusesUnknown},
		{"a failed prepare can be taken back", failedPrepareIsUndone},
		{"unprepare of nothing, and twice, is no error", unprepareIsIdempotent},
		{"unprepare works without what was remembered", unprepareWithoutUndo},
		{"prepare works again after unprepare", prepareAgain},
		{"admin access changes nothing for the user of the device", adminAccessIsHarmless},
		{"claims do not disturb each other", claimsAreConcurrent},
		{"a cancelled call leaves nothing that cannot be taken back", cancelledPrepare},
		{"sweeping spares what is known", sweepSparesKnown},
		{"watching ends with its context", watchEnds},
	}
}

// subject is the backend under test.
type subject struct {
	device.Backend
	config runtime.Object
}

// memory is what a caller remembers for one request.
type memory struct {
	mu   sync.Mutex
	undo map[int]json.RawMessage
}

func (m *memory) remember(i int, undo json.RawMessage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.undo == nil {
		m.undo = map[int]json.RawMessage{}
	}
	m.undo[i] = append(json.RawMessage(nil), undo...)
	return nil
}

// names returns the names of the devices.
func (s subject) names(ctx context.Context) ([]string, error) {
	snapshot, err := s.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	if len(snapshot.Devices) == 0 {
		return nil, errors.New("the backend under test has no devices")
	}
	var names []string
	for _, d := range snapshot.Devices {
		names = append(names, d.Name)
	}
	return names, nil
}

// fitting returns the names of devices that different claims can have at the same time, as many as one claim can have.
func (s subject) fitting(ctx context.Context) ([]string, error) {
	snapshot, err := s.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	if len(snapshot.Devices) == 0 {
		return nil, errors.New("the backend under test has no devices")
	}
	names := fitting(snapshot)
	return names[:min(len(names), resourceapi.AllocationResultsMaxSize)], nil
}

// sorted returns the devices by name.
func (s subject) sorted(ctx context.Context) ([]device.Device, error) {
	snapshot, err := s.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	slices.SortFunc(snapshot.Devices, func(a, b device.Device) int { return strings.Compare(a.Name, b.Name) })
	return snapshot.Devices, nil
}

// request asks for the devices in the name of claim number n.
func (s subject) request(n int, admin bool, names ...string) (device.Request, *memory) {
	m := &memory{}
	r := device.Request{Claim: claim(n), Config: s.config, Remember: m.remember}
	for i, name := range names {
		result := resourceapi.DeviceRequestAllocationResult{
			Request: fmt.Sprintf("request-%d", i), Driver: "devicetest.example.com", Pool: "node", Device: name,
		}
		if admin {
			result.AdminAccess = new(true)
		}
		r.Devices = append(r.Devices, result)
	}
	r.All = r.Devices
	return r, m
}

// all asks for all devices that fit together, as many as a claim can have.
func (s subject) all(ctx context.Context) (device.Request, *memory, error) {
	names, err := s.fitting(ctx)
	if err != nil {
		return device.Request{}, nil, err
	}
	r, m := s.request(0, false, names...)
	return r, m, nil
}

// one asks for the first device.
func (s subject) one(ctx context.Context) (device.Request, *memory, error) {
	names, err := s.fitting(ctx)
	if err != nil {
		return device.Request{}, nil, err
	}
	r, m := s.request(0, false, names[0])
	return r, m, nil
}

func claim(n int) device.Claim {
	return device.Claim{Namespace: "team", Name: fmt.Sprintf("claim-%d", n), UID: uid(n)}
}

func uid(n int) types.UID { return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

// prepare prepares and checks the form of the answer.
func (s subject) prepare(ctx context.Context, r device.Request) ([]device.Grant, error) {
	grants, err := s.Prepare(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return grants, validateGrants(r, grants)
}

// unprepare takes the devices of a request back, with what was remembered for them.
func (s subject) unprepare(ctx context.Context, r device.Request, m *memory) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, result := range r.Devices {
		if err := s.Unprepare(ctx, device.Grant{Claim: r.Claim, Result: result, Undo: m.undo[i]}); err != nil {
			return fmt.Errorf("unprepare %s: %w", result.Device, err)
		}
	}
	return nil
}

// same compares two answers to one question.
func same(first, second []device.Grant) error {
	if reflect.DeepEqual(first, second) {
		return nil
	}
	a, errA := json.Marshal(first)
	b, errB := json.Marshal(second)
	return errors.Join(errA, errB, fmt.Errorf("two answers to one question:\n%s\n%s", a, b))
}
