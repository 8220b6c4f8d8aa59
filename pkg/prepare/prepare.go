package prepare

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/failpoint"
)

// Options are what a [Preparer] works with.
type Options struct {
	Backend device.Backend
	Records *checkpoint.Store
	CDI     *cdi.Dir
	// DriverName and NodeName are told to containers; DriverName is also the driver of all results.
	DriverName, NodeName string
	// Capacity returns what a device has for shares to take, as it was seen last, and whether it was seen. It is asked
	// when a claim gets a share. It may be nil: then nobody adds up what shares take.
	Capacity func(pool, device string) (capacity map[resourceapi.QualifiedName]resource.Quantity, known bool)
	// Observe is told how long each phase of a Prepare took. It may be nil.
	Observe func(phase Phase, d time.Duration)
	// Report is told of problems that do not make a call fail, such as a record that had to be moved away. Each is
	// reported once. It may be nil.
	Report func(c device.Claim, problem error)
	// Reconciled is told of each thing that was put right without a call of the kubelet; of the claim maybe only the UID
	// is known. It may be nil.
	Reconciled func(c device.Claim, did Action)
}

// Phase is a part of preparing a claim.
type Phase string

// The phases, in the order in which they begin.
const (
	PhaseLock   Phase = "lock"   // waiting for other calls and instances that work on the claim
	PhaseCommit Phase = "commit" // reading and writing records and markers
	PhaseDevice Phase = "device" // the backend
	PhaseCDI    Phase = "cdi"    // the CDI file
)

// Device is the answer for one device of a plan.
type Device struct {
	Request, Pool, Device string
	ShareID               *types.UID
	CDIDeviceIDs          []string
	// Network and Data are for the status of the claim; nil for nothing.
	Network *resourceapi.NetworkDeviceData
	Data    json.RawMessage
}

// Preparer prepares claims and takes them back. All methods may be called concurrently, by several processes too.
type Preparer struct {
	o      Options
	told   told
	files  filesLook
	atOnce int                       // how many claims Restore looks at in detail
	at     func(moment string) error // set by tests: what happens before and after each step
}

// New returns a Preparer. It touches nothing yet.
func New(o Options) *Preparer { return &Preparer{o: o, atOnce: restoredAtOnce} }

// Prepare carries out plan and returns an answer for each of its devices, in their order. After nil everything is
// there and recorded. It returns a *[checkpoint.HeldError] if another claim owns one of the devices. After an error the
// claim may be half prepared; Prepare or Unprepare mend that, whenever they come. A panic of the backend is an error.
func (p *Preparer) Prepare(ctx context.Context, plan claim.Plan) ([]Device, error) {
	c := p.begin(checkpoint.Claim{Namespace: plan.Namespace, Name: plan.Name, UID: plan.UID}, plan)
	defer c.observe()
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	steps := []step{
		{"read record", PhaseCommit, c.read},
		{"take back other devices", PhaseDevice, c.takeBackOtherDevices},
		{"record intent", PhaseCommit, c.recordIntent},
		{"hold devices", PhaseCommit, c.holdDevices},
		{"add shares up", PhaseCommit, c.addSharesUp},
		{"set devices up", PhaseDevice, c.setDevicesUp},
		{"write CDI file", PhaseCDI, c.writeCDIFile},
		{"record proof", PhaseCommit, c.recordProof},
	}
	if len(plan.Devices) == 0 {
		steps = steps[:2] // nothing of it is ours any more
	}
	if err := c.run(ctx, steps...); err != nil {
		return nil, c.forgetIfNothingWasDone(err)
	}
	return c.answer(), nil
}

// call is one Prepare or Unprepare of one claim.
type call struct {
	*Preparer
	claim   checkpoint.Claim
	plan    claim.Plan
	record  *checkpoint.Record         // nil while none is known
	isNew   bool                       // this call was the first to record the claim
	settled bool                       // the claim was prepared before, with the same devices
	lost    bool                       // the record could not be read, and record is what the markers say
	asked   bool                       // the backend was asked to set devices up
	edits   []cdispecs.ContainerEdits  // of each device of the plan
	common  []*cdispecs.ContainerEdits // of each device of the plan, nil where there are none
	spent   map[Phase]time.Duration
}

func (p *Preparer) begin(c checkpoint.Claim, plan claim.Plan) *call {
	return &call{Preparer: p, claim: c, plan: plan, spent: map[Phase]time.Duration{}}
}

// step is one thing to do. Dying before, in or after it must leave what the next call can go on from.
type step struct {
	name  string
	phase Phase // empty if its time is counted elsewhere
	do    func(context.Context) error
}

// run does the steps in order, up to the first that cannot be done.
func (c *call) run(ctx context.Context, steps ...step) error {
	for _, s := range steps {
		began := time.Now()
		err := c.moment("before", s.name)
		if err == nil {
			err = s.do(ctx)
		}
		if err == nil {
			err = c.moment("after", s.name)
		}
		c.spent[s.phase] += time.Since(began)
		if err != nil {
			return err
		}
	}
	return nil
}

// moment does nothing outside tests.
func (c *call) moment(when, name string) error {
	if err := failpoint.Before("step", when, name); err != nil || c.at == nil {
		return err
	}
	return c.at(when + " " + name)
}

func (c *call) observe() {
	for _, phase := range []Phase{PhaseLock, PhaseCommit, PhaseDevice, PhaseCDI} {
		if spent, ok := c.spent[phase]; ok && c.o.Observe != nil {
			c.o.Observe(phase, spent)
		}
	}
}

const (
	// lockPatience bounds the wait for a claim's lock if the call has no earlier deadline. The kubelet's is 45 s.
	lockPatience = 40 * time.Second
	// workShare is the part (1/workShare) of a call's time that is kept for the work after waiting, and for the answer.
	workShare = 8
)

// errLocked is why waiting for a lock ended. It becomes an event of the pod.
var errLocked = errors.New("it has not come to an end for as long as the kubelet waits, which will ask again; " +
	"if it stays so, an instance of the driver hangs on this node: end it")

// lock waits for who else works on the claim, and gives up in time to say so: an instance that hangs keeps its locks.
func (c *call) lock(ctx context.Context) (unlock func(), err error) {
	began := time.Now()
	defer func() { c.spent[PhaseLock] = time.Since(began) }()
	patience := lockPatience
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(began)
		patience = min(patience, left-left/workShare)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errLocked)
	defer cancel()
	done := failpoint.Working(string(c.claim.UID))
	release, err := c.o.Records.Lock(ctx, c.claim.UID)
	if err != nil {
		done()
		return nil, err
	}
	return func() { release(); _ = failpoint.Before("step", "before", "answer"); done() }, nil
}

// read finds what is known of the claim. A record that cannot be read is replaced by what the markers say: the claim is
// not taken for one that never was prepared.
func (c *call) read(context.Context) error {
	record, err := c.o.Records.Get(c.claim.UID)
	var corrupt *checkpoint.CorruptError
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		return nil
	case errors.As(err, &corrupt):
		if err := c.readMarkers(); err != nil { // which may know the name of the claim
			return err
		}
		return c.noteUnreadable(c.claim, err)
	case err != nil:
		return err
	}
	c.record, c.claim = record, record.Claim
	return nil
}

func (c *call) readMarkers() error {
	keys, owner, err := c.o.Records.HeldBy(c.claim.UID)
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		c.claim = owner
	}
	c.lost = true
	c.record = &checkpoint.Record{Claim: c.claim, State: checkpoint.Unpreparing}
	for _, key := range keys {
		c.record.Devices = append(c.record.Devices, checkpoint.Device{DeviceKey: key})
	}
	return nil
}

// takeBackOtherDevices begins from nothing if the claim was allocated anew since it was recorded. Then nobody uses it.
func (c *call) takeBackOtherDevices(ctx context.Context) error {
	if c.record == nil {
		return nil
	}
	stillPlanned := func(d checkpoint.Device) bool {
		return slices.ContainsFunc(c.plan.Devices, func(p claim.Device) bool { return sameDevice(d, recordOf(p)) })
	}
	all := true
	for _, d := range c.record.Devices {
		all = all && stillPlanned(d)
	}
	if all && len(c.plan.Devices) > 0 {
		return nil
	}
	if err := c.run(ctx, c.takingBack()...); err != nil {
		return err
	}
	c.record, c.lost = nil, false
	return nil
}

// recordIntent says which devices will be set up, before anything else is done for them. The record of a claim that is
// prepared with the same devices stays as it is: a Prepare that goes wrong later does not make it less prepared.
func (c *call) recordIntent(context.Context) error {
	known := c.record
	if c.isNew = known == nil; c.isNew {
		known = &checkpoint.Record{}
	}
	unchanged := known.State == checkpoint.Prepared && len(known.Devices) == len(c.plan.Devices)
	devices := make([]checkpoint.Device, 0, len(c.plan.Devices))
	for _, p := range c.plan.Devices {
		d := recordOf(p)
		i := slices.IndexFunc(known.Devices, func(k checkpoint.Device) bool { return sameDevice(k, d) })
		if i >= 0 {
			request, consumed := d.Request, d.Consumed
			d = known.Devices[i] // keeps how to undo what was done, and what a newer version wrote
			d.Request, d.Consumed = request, consumed
		}
		unchanged = unchanged && i >= 0
		devices = append(devices, d)
	}
	if c.settled = unchanged; !unchanged {
		known.State = checkpoint.Preparing
	}
	known.Claim.Namespace, known.Claim.Name, known.Claim.UID = c.plan.Namespace, c.plan.Name, c.plan.UID
	known.Devices, c.record, c.claim = devices, known, known.Claim
	return c.o.Records.Put(c.record)
}

// holdDevices goes through the devices in one order for all claims, so that of those which want the same devices at the
// same time one gets them all.
func (c *call) holdDevices(context.Context) error {
	for _, d := range c.owned() {
		if err := c.o.Records.Hold(d, c.claim); err != nil {
			return err
		}
	}
	return nil
}

// owned returns the devices of the record that the claim owns, sorted. What it only looks at is not among them.
func (c *call) owned() []checkpoint.Device {
	if c.record == nil {
		return nil
	}
	var devices []checkpoint.Device
	for _, d := range c.record.Devices {
		if !d.AdminAccess {
			devices = append(devices, d)
		}
	}
	slices.SortFunc(devices, func(a, b checkpoint.Device) int { return a.Compare(b.DeviceKey) })
	return devices
}

func keysOf(devices []checkpoint.Device) []checkpoint.DeviceKey {
	keys := make([]checkpoint.DeviceKey, 0, len(devices))
	for _, d := range devices {
		keys = append(keys, d.DeviceKey)
	}
	return keys
}

func (c *call) setDevicesUp(ctx context.Context) error {
	c.asked = true
	c.edits = make([]cdispecs.ContainerEdits, len(c.plan.Devices))
	c.common = make([]*cdispecs.ContainerEdits, len(c.plan.Devices))
	all := make([]resourceapi.DeviceRequestAllocationResult, 0, len(c.plan.Devices))
	for _, d := range c.plan.Devices {
		all = append(all, d.Result)
	}
	for _, group := range c.plan.Groups() {
		results := make([]resourceapi.DeviceRequestAllocationResult, 0, len(group.Indexes))
		for _, i := range group.Indexes {
			results = append(results, all[i])
		}
		grants, err := c.askBackend(ctx, device.Request{
			Claim: device.Claim(c.claim), Config: group.Config, Devices: slices.Clone(results), All: slices.Clone(all),
		}, group.Indexes)
		if err == nil {
			err = checkGrants(grants, results)
		}
		if err != nil {
			return fmt.Errorf("set up %s: %w", namesOf(results), err)
		}
		for n, i := range group.Indexes {
			c.edits[i], c.common[i] = *grants[n].Edits, grants[n].Common
			c.show(i, grants[n])
		}
	}
	return nil
}

// askBackend has the devices of r set up, which are those at indexes of the record.
func (c *call) askBackend(ctx context.Context, r device.Request, indexes []int) ([]device.Grant, error) {
	var mu sync.Mutex
	var returned bool
	var forgotten error
	r.Remember = func(i int, undo json.RawMessage) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case returned:
			return errors.New("remember how to undo a change: Prepare has returned already")
		case i < 0 || i >= len(indexes):
			return fmt.Errorf("remember how to undo a change: there is no device %d of %d", i, len(indexes))
		}
		err := c.remember(indexes[i], undo)
		forgotten = errors.Join(forgotten, err)
		return err
	}
	var grants []device.Grant
	err := c.guard("prepare", func() (err error) {
		grants, err = c.o.Backend.Prepare(ctx, r)
		return err
	})
	mu.Lock()
	defer mu.Unlock()
	returned = true
	return grants, cmp.Or(err, forgotten)
}

// remember has the record rewritten before the backend changes anything.
func (c *call) remember(i int, undo json.RawMessage) error {
	if err := c.moment("before", "remember"); err != nil {
		return err
	}
	c.record.Devices[i].Undo = bytes.Clone(undo)
	if err := c.o.Records.Put(c.record); err != nil {
		return err
	}
	return c.moment("after", "remember")
}

func checkGrants(grants []device.Grant, asked []resourceapi.DeviceRequestAllocationResult) error {
	if len(grants) != len(asked) {
		return fmt.Errorf("the backend granted %d devices of %d", len(grants), len(asked))
	}
	for i, g := range grants {
		switch got, want := g.Result, asked[i]; {
		case keyOf(got) != keyOf(want):
			return fmt.Errorf("the backend granted device %s instead of %s", got.Device, want.Device)
		case g.Edits == nil:
			return fmt.Errorf("the backend granted device %s without saying what containers get", want.Device)
		}
	}
	return nil
}

func (c *call) writeCDIFile(context.Context) error {
	forAll := cdispecs.ContainerEdits{Env: []string{
		"DRA_ADMIN_ACCESS=" + strconv.FormatBool(c.plan.AdminAccess()),
		"DRA_RESOURCE_DRIVER_NAME=" + c.o.DriverName,
		"KUBERNETES_NODE_NAME=" + c.o.NodeName,
	}}
	for _, common := range c.common {
		if err := addMissing(&forAll, common); err != nil {
			return err
		}
	}
	spec := cdi.Spec{Claim: c.claim.UID, ContainerEdits: forAll}
	for i, d := range c.record.Devices {
		spec.Devices = append(spec.Devices, cdispecs.Device{Name: c.cdiName(d.DeviceKey), ContainerEdits: c.edits[i]})
	}
	raw, err := c.o.CDI.Write(spec)
	if err != nil {
		return err
	}
	c.record.CDISpec = raw
	return nil
}

// addMissing adds to edits what more has and edits has not. Grants may share some of their edits only, and a hook that
// is there twice would run twice.
func addMissing(edits, more *cdispecs.ContainerEdits) error {
	if more == nil {
		return nil
	}
	edits.Env = union(edits.Env, more.Env)
	edits.DeviceNodes = union(edits.DeviceNodes, more.DeviceNodes)
	edits.NetDevices = union(edits.NetDevices, more.NetDevices)
	edits.Hooks = union(edits.Hooks, more.Hooks)
	edits.Mounts = union(edits.Mounts, more.Mounts)
	edits.AdditionalGIDs = union(edits.AdditionalGIDs, more.AdditionalGIDs)
	if more.IntelRdt == nil {
		return nil
	}
	if edits.IntelRdt != nil && !reflect.DeepEqual(edits.IntelRdt, more.IntelRdt) {
		return errors.New("merge what the devices have in common: they want different intelRdt, of which a container has one")
	}
	edits.IntelRdt = more.IntelRdt
	return nil
}

// union returns all, followed by what of more is not in it.
func union[T any](all, more []T) []T {
	for _, item := range more {
		if !slices.ContainsFunc(all, func(other T) bool { return reflect.DeepEqual(item, other) }) {
			all = append(all, item)
		}
	}
	return all
}

func (c *call) cdiName(k checkpoint.DeviceKey) string {
	return cdi.DeviceName(c.claim.UID, k.Device, k.ShareID)
}

func (c *call) recordProof(context.Context) error {
	c.record.State = checkpoint.Prepared
	return c.o.Records.Put(c.record)
}

func (c *call) answer() []Device {
	answer := make([]Device, 0, len(c.plan.Devices))
	for i, d := range c.plan.Devices {
		shows := shownOf(c.record.Devices[i].Shown)
		answer = append(answer, Device{
			Request:      d.Result.Request,
			Pool:         d.Result.Pool,
			Device:       d.Result.Device,
			ShareID:      d.Result.ShareID,
			CDIDeviceIDs: []string{c.o.CDI.ID(c.cdiName(keyOf(d.Result)))},
			Network:      shows.Network,
			Data:         shows.Data,
		})
	}
	return answer
}

// forgetIfNothingWasDone removes what a Prepare recorded that ended with err before the backend was asked for anything,
// for example because another claim holds a device. Otherwise the record stays: it says what is to be undone.
func (c *call) forgetIfNothingWasDone(err error) error {
	if !c.isNew || c.asked {
		return err
	}
	cleanup := c.o.Records.Release(c.claim.UID, keysOf(c.owned())...)
	if cleanup == nil {
		cleanup = c.o.Records.Delete(c.claim.UID)
	}
	if cleanup != nil {
		return fmt.Errorf("%w; then %w", err, cleanup)
	}
	return err
}

func keyOf(r resourceapi.DeviceRequestAllocationResult) checkpoint.DeviceKey {
	return checkpoint.DeviceKey{Pool: r.Pool, Device: r.Device, ShareID: string(ptr.Deref(r.ShareID, ""))}
}

func recordOf(d claim.Device) checkpoint.Device {
	return checkpoint.Device{
		DeviceKey:   keyOf(d.Result),
		Consumed:    consumed(d.Result),
		Request:     d.Result.Request,
		AdminAccess: ptr.Deref(d.Result.AdminAccess, false),
	}
}

func sameDevice(a, b checkpoint.Device) bool {
	return a.DeviceKey == b.DeviceKey && a.AdminAccess == b.AdminAccess
}

func namesOf(devices []resourceapi.DeviceRequestAllocationResult) string {
	names := make([]string, 0, len(devices))
	for _, d := range devices {
		names = append(names, d.Device)
	}
	return strings.Join(names, ", ")
}
