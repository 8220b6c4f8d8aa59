//go:build cgo

package nvml

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml/mig"
	"example.com/dragoman/pkg/device/nvml/sharing"
)

var (
	_ device.Backend  = (*Backend)(nil)
	_ device.Watcher  = (*Backend)(nil)
	_ device.Sweeper  = (*Backend)(nil)
	_ device.Examiner = (*Backend)(nil)
)

// Backend is the NVIDIA GPUs of a node.
type Backend struct {
	options      Options
	now          func() time.Time
	pollInterval time.Duration
	opening      slot[*session]
	injector     injector
	kicks        chan struct{} // tells Watch to look
	workshop     *mig.Workshop
	keeper       *sharing.Keeper
	mps          *sharing.MPS
	warner

	mu      sync.Mutex
	session *session
	loaded  os.FileInfo     // the library of the first session; nil if there was none
	gpus    map[string]*gpu // by UUID
	places  map[int]string  // UUIDs by index, as of the last look that found one there
	told    string          // fingerprint of what Devices answered last
}

// New returns the backend. It does not look at the hardware, so that it is there before the driver.
func New(options Options) (*Backend, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	b := &Backend{
		options:      options,
		now:          time.Now,
		pollInterval: pollInterval,
		gpus:         map[string]*gpu{},
		places:       map[int]string{},
		kicks:        make(chan struct{}, 1),
		warner:       warner{warn: options.Warn, said: map[string]bool{}},
	}
	b.equip()
	return b, nil
}

// Devices looks at the hardware. A GPU that was there before and cannot be looked at is unhealthy; an error is a
// [*CannotLookError] unless ctx ended.
func (b *Backend) Devices(ctx context.Context) (device.Snapshot, error) {
	snapshot, err := b.look(ctx)
	b.mu.Lock()
	b.told = fingerprint(snapshot, err)
	b.mu.Unlock()
	return snapshot, err
}

// look asks all GPUs. Where the session turns out to be over, it begins another one and asks again, once.
func (b *Backend) look(ctx context.Context) (device.Snapshot, error) {
	for last := false; ; last = true {
		s, err := b.open(ctx)
		if errors.Is(err, errNoGPUs) {
			return device.Snapshot{}, nil
		}
		if err != nil {
			return device.Snapshot{}, b.cannotLook(err)
		}
		err = b.lookAtAll(ctx, s)
		if err == nil {
			return b.snapshot(), nil
		}
		if ctx.Err() != nil {
			return device.Snapshot{}, err
		}
		if endsSession(err) {
			s.end()
			if !last {
				continue
			}
		}
		return device.Snapshot{}, b.cannotLook(err)
	}
}

// cannotLook makes an error a [*CannotLookError] if it is none.
func (b *Backend) cannotLook(err error) error {
	_, ok := errors.AsType[*CannotLookError](err)
	if ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &CannotLookError{What: err.Error(), Mend: `see "dmesg | grep NVRM" on the node`}
}

// lookAtAll looks at every GPU of a session, all at the same time. An error says that none could be looked at.
func (b *Backend) lookAtAll(ctx context.Context, s *session) error {
	m, err := s.count(ctx)
	if err != nil {
		return err
	}
	if m.driver != "" && m.driver != s.driver || s.replaced() {
		return &callError{"the driver's version changed", errOver.code}
	}
	if m.count == 0 {
		missed, err := b.options.missedGPUs()
		if err != nil || len(missed) > 0 {
			return errors.Join(err, &CannotLookError{
				What: b.seen(missed) + "NVML does not see any GPU",
				Mend: `the driver may be starting; else see "dmesg | grep NVRM" on the node`,
			})
		}
	}
	found := make([]*gpu, m.count)
	failed := make([]error, m.count)
	var wait sync.WaitGroup
	for i := range m.count {
		wait.Go(func() {
			what := fmt.Sprintf("look at GPU number %d", i)
			found[i], failed[i] = s.look(i).do(ctx, askPatience, what, func() (*gpu, error) { return b.lookAt(s, i) })
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("look at the NVIDIA GPUs: %w", err)
	}
	for _, err := range failed {
		if endsSession(err) {
			return err
		}
	}
	b.settle(found, failed)
	return nil
}

// settle decides what became of the GPUs that a look did not find.
func (b *Backend) settle(found []*gpu, failed []error) {
	for i, err := range failed {
		if err == nil {
			continue
		}
		g := b.at(i)
		if g == nil {
			b.warnOnce("a GPU cannot be looked at and was never seen", "index", i, "err", err)
			continue
		}
		if !slices.Contains(found, g) {
			g.missing("the GPU cannot be looked at: " + err.Error())
			found = append(found, g)
		}
	}
	for _, g := range b.known() {
		if slices.Contains(found, g) {
			continue
		}
		if b.isOnBus(g) {
			g.missing("the GPU is on the PCI bus, but NVML does not show it any more")
			continue
		}
		b.mu.Lock()
		delete(b.gpus, g.uuid)
		b.mu.Unlock()
	}
}

// isOnBus tells whether a GPU that NVML does not show is there nevertheless.
func (b *Backend) isOnBus(g *gpu) bool {
	_, _, f := g.grip()
	missed, err := b.options.missedGPUs()
	return err != nil || slices.ContainsFunc(missed, func(p pciGPU) bool { return p.address == f.pciBusID })
}

// snapshot returns all GPUs as they were found, in the order of their PCI addresses.
func (b *Backend) snapshot() device.Snapshot {
	var snapshot device.Snapshot
	for _, g := range b.known() {
		p := g.offered()
		for _, o := range p.offers {
			snapshot.Devices = append(snapshot.Devices, o.device)
		}
		for _, set := range p.counters {
			snapshot.SharedCounters = append(snapshot.SharedCounters, *set.DeepCopy())
		}
	}
	return snapshot
}

// known returns the GPUs in the order of their PCI addresses.
func (b *Backend) known() []*gpu {
	b.mu.Lock()
	defer b.mu.Unlock()
	type placed struct {
		address string
		*gpu
	}
	var all []placed
	for _, g := range b.gpus {
		_, _, f := g.grip()
		all = append(all, placed{f.pciBusID, g})
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(strings.Compare(a.address, b.address), strings.Compare(a.uuid, b.uuid))
	})
	sorted := make([]*gpu, len(all))
	for i, p := range all {
		sorted[i] = p.gpu
	}
	return sorted
}

// gpuOf returns the GPU with a UUID, which may be new.
func (b *Backend) gpuOf(uuid string) *gpu {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gpus[uuid] == nil {
		b.gpus[uuid] = newGPU(uuid)
	}
	return b.gpus[uuid]
}

// gpuByUUID returns a GPU that was seen, or nil.
func (b *Backend) gpuByUUID(uuid string) *gpu {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gpus[uuid]
}

// kick has the hardware looked at soon, if anybody watches it. It never waits.
func (b *Backend) kick() {
	select {
	case b.kicks <- struct{}{}:
	default: // one is waiting already
	}
}

// place notes where a GPU was found.
func (b *Backend) place(index int, uuid string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places[index] = uuid
}

// at returns the GPU that was found at an index last, or nil.
func (b *Backend) at(index int) *gpu {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gpus[b.places[index]]
}

// fingerprint differs where Devices answers differently.
func fingerprint(snapshot device.Snapshot, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	raw, err := json.Marshal(snapshot)
	if err != nil {
		return "error: " + err.Error()
	}
	sum := sha256.Sum256(raw)
	return string(sum[:])
}

// Sweep removes the MIG instances and the sharing settings of claims that nobody knows.
func (b *Backend) Sweep(ctx context.Context, known func(claim types.UID) bool) error {
	return errors.Join(b.sweepParts(ctx, known), b.sweepShares(ctx, known))
}

// target is a device that somebody asked for.
type target struct {
	gpu   *gpu
	offer offer
}

// find returns what the devices of results are, or an error that says which of them the node does not have. It looks
// at the hardware only for one that it has not seen yet.
func (b *Backend) find(ctx context.Context, results []resourceapi.DeviceRequestAllocationResult) ([]target, error) {
	targets, missing := b.seenBefore(results)
	if len(missing) > 0 {
		if _, err := b.look(ctx); err != nil {
			return nil, fmt.Errorf("find %s: %w", strings.Join(missing, ", "), err)
		}
		if targets, missing = b.seenBefore(results); len(missing) > 0 {
			return nil, fmt.Errorf("node %s has no device %s", b.options.NodeName, strings.Join(missing, ", "))
		}
	}
	return targets, nil
}

func (b *Backend) seenBefore(results []resourceapi.DeviceRequestAllocationResult) (targets []target, missing []string) {
	gpus := b.known()
	for _, result := range results {
		var t target
		for _, g := range gpus {
			if o, ok := g.offers(result.Device); ok {
				t = target{g, o}
			}
		}
		if t.gpu == nil {
			missing = append(missing, result.Device)
		}
		targets = append(targets, t)
	}
	return targets, missing
}
