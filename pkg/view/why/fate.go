package why

import (
	"context"
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/selector"
)

// fate is what became of one device for one need. No stage: it is left.
type fate struct {
	stage Stage
	// expression is the index in judge.expressions, at StageClass, StageSelector and StageError.
	expression int
	// never says that the device could not meet the need, whoever has it: who wants all devices does not want this one.
	never bool
	// details say by whom or what it was lost.
	details []string
}

// expression is one selector of a class or of a request, and what it did.
type expression struct {
	from     string // "class" or "request"
	index    int
	text     string
	compiled *selector.Selector
	broken   error // cannot be compiled
	// asked are the devices that got as far; false those of them that it is not true for.
	asked, untrue []*device
	// errors are those on which it cannot be evaluated, with what CEL says of the first.
	errors []*device
	err    error
}

// judge says what becomes of devices for one need, wherever they are.
type judge struct {
	w           *world
	need        *need
	expressions []*expression
	fates       map[*device]fate
	// enough are the nodes where the request alone has enough devices left; request fills it.
	enough map[string]bool
}

// judgeAll asks the question for each of the devices, in their order. The class must exist.
func judgeAll(ctx context.Context, w *world, n *need, class *resourceapi.DeviceClass, devices []*device) *judge {
	j := &judge{w: w, need: n, fates: make(map[*device]fate, len(devices)), enough: make(map[string]bool)}
	j.compile("class", class.Spec.Selectors)
	j.compile("request", n.selectors)
	for _, d := range devices {
		if _, known := j.fates[d]; !known {
			j.fates[d] = j.fate(ctx, d)
		}
	}
	return j
}

func (j *judge) compile(from string, selectors []resourceapi.DeviceSelector) {
	for i, s := range selectors {
		e := &expression{from: from, index: i}
		if s.CEL != nil {
			e.text = s.CEL.Expression
			e.compiled, e.broken = selector.Compile(e.text)
		} else {
			e.broken = fmt.Errorf("the selector has no expression")
		}
		j.expressions = append(j.expressions, e)
	}
}

// fate goes through the stages in the order of the scheduler's allocator, except that the selectors come before the use
// of devices: what a request does not ask for is no loss. An expression that cannot be evaluated on a device in use is
// none either: the allocator does not look at that device.
func (j *judge) fate(ctx context.Context, d *device) fate {
	if !d.pool.Usable() && (d.pool.Complete || !j.w.partial) {
		return fate{stage: StagePool, details: []string{d.pool.Problem}}
	}
	taken, inUse := j.inUse(d)
	for i, e := range j.expressions {
		e.asked = append(e.asked, d)
		matches, err := e.matches(ctx, d)
		switch {
		case err != nil && inUse:
			return taken
		case err != nil:
			e.fail(d, err)
			return fate{stage: StageError, expression: i}
		case !matches:
			e.untrue = append(e.untrue, d)
			if e.from == "class" {
				return fate{stage: StageClass, expression: i, never: true}
			}
			return fate{stage: StageSelector, expression: i, never: true}
		}
	}
	l, lacks := lackingCapacityOf(d, j.need.capacity)
	switch {
	case inUse:
		taken.never = lacks && l.never()
		return taken
	case lacks:
		return fate{stage: StageCapacity, never: l.never(), details: []string{l.String() + beside(d)}}
	}
	if f, lost := j.countersOf(d); lost {
		return f
	}
	return j.taint(d)
}

func (e *expression) matches(ctx context.Context, d *device) (bool, error) {
	if e.broken != nil {
		return false, e.broken
	}
	return e.compiled.Matches(ctx, d.id.Driver, d.spec)
}

func (e *expression) fail(d *device, err error) {
	if e.err == nil {
		e.err = err
	}
	e.errors = append(e.errors, d)
}

// inUse says whether somebody holds the device as a whole. Who has a share of it is a question of its capacity.
func (j *judge) inUse(d *device) (fate, bool) {
	if j.need.admin {
		return fate{}, false
	}
	holders := slices.DeleteFunc(slices.Clone(d.uses), func(u view.Use) bool { return u.AdminAccess || u.Shared() })
	if len(holders) == 0 {
		return fate{}, false
	}
	return fate{stage: StageInUse, details: users(holders)}, true
}

func (j *judge) countersOf(d *device) (fate, bool) {
	if ptr.Deref(d.spec.AllowMultipleAllocations, false) && j.w.allocations.Held(d.id) {
		return fate{}, false // its counters are taken already, once for all shares
	}
	l, lacks := j.w.counters[poolID{d.id.Driver, d.id.Pool}].lacking(d.spec)
	if !lacks {
		return fate{}, false
	}
	var by []string
	for _, other := range j.w.consumers(d.pool, l.set) {
		by = append(by, fmt.Sprintf("%s of %s", other.spec.Name, listed(users(other.uses), 2)))
	}
	return fate{stage: StageCounters, details: []string{l.String() + takenBy(by)}}, true
}

func takenBy(who []string) string {
	if len(who) == 0 {
		return ""
	}
	return ", the rest is with " + listed(who, mostDetails)
}

// beside says who else has shares of a device.
func beside(d *device) string {
	if who := users(d.uses); len(who) > 0 {
		return " beside " + listed(who, mostDetails)
	}
	return ""
}

func (j *judge) taint(d *device) fate {
	for _, t := range d.taints {
		if !t.Keeps() || tolerated(j.need.tolerations, t) {
			continue
		}
		text := t.String()
		if t.Rule != "" {
			text += " by rule " + t.Rule
		}
		return fate{stage: StageTaint, details: []string{text}}
	}
	return fate{}
}

func tolerated(tolerations []resourceapi.DeviceToleration, t view.Taint) bool {
	return slices.ContainsFunc(tolerations, func(toleration resourceapi.DeviceToleration) bool {
		return resourceclaim.ToleratesTaint(toleration, t.DeviceTaint)
	})
}
