package why

import (
	"slices"
	"strings"

	"example.com/dragoman/pkg/view"
)

// possible is when the allocator says yes, and the pod waits nevertheless.
func (e *examination) possible() {
	q, answered := e.schedulerSays()
	switch {
	case e.blocked || e.pod == nil || !answered || e.answer.FitCount == 0:
		return
	case strings.Contains(q.Text, "cannot allocate all claims") || strings.Contains(q.Text, "resourceclaim") ||
		strings.Contains(q.Text, "device class"):
		if e.Hides("resourceclaims") {
			e.stop(CannotTell, "", "its devices look free, and the scheduler's last answer is no: a claim that could not be "+
				"seen may have them%s", e.takes("resourceclaims")).Quotes = []Quote{q}
			e.advise("have this asked by somebody who may list resourceclaims of all namespaces")
			return
		}
		text, then := "its devices are there now, and the scheduler's last answer is older", ""
		if e.madeUp {
			text = "its devices are there now, if a node that has them fits the pod, and the scheduler's last answer is no"
			then = "; if that does not help, have somebody who may list nodes see whether they fit the pod"
		}
		r := e.note(NotYetTried, "", "%s", text)
		r.Quotes = []Quote{q}
		e.advise("wait: the scheduler tries again when something changes, at the latest after 5 minutes%s", then)
	default:
		r := e.note(OtherThanDevices, "", "its devices are there, and the scheduler says what else is missing")
		r.Quotes = []Quote{q}
	}
}

// conclude makes the summary of all that was found.
func (e *examination) conclude() {
	e.scheduler()
	e.quoteScheduler()
	if r := e.first(func(id ReasonID) bool { return id != CannotTell }); r != nil {
		e.say(Waiting, "waits: %s", r.Text)
		return
	}
	if r := e.first(func(id ReasonID) bool { return id == CannotTell }); r != nil {
		e.say(Unknown, "waits, and why cannot be told: %s", r.Text)
		return
	}
	state, does := Waiting, "waits"
	if e.answer.FitCount > 0 {
		state = Possible
	}
	if e.pod == nil {
		does = "has no devices"
	}
	switch {
	case len(e.parts) == 0:
		e.say(state, "%s, and not for devices: %s", does, e.answer.Reasons[0].Text)
	case len(e.answer.Reasons) > 0:
		e.say(state, "%s: %s", does, e.answer.Reasons[0].Text)
	case state == Possible:
		e.say(state, "%s: %s can give them, and nobody has said why it does not get them", does, e.nodesThatCan())
	default:
		e.say(state, "%s, and not for devices that it asks for", does)
	}
}

// first returns the first reason that stands in the way and is one of those; nil if none does.
func (e *examination) first(of func(ReasonID) bool) *Reason {
	for i := range e.answer.Reasons {
		r := &e.answer.Reasons[i]
		if of(r.ID) && !explains(r.ID) && (r.ID != NotAtScheduler || e.answer.FitCount == 0) {
			return r
		}
	}
	return nil
}

// explains says that a reason does not stand in the way of devices.
func explains(id ReasonID) bool {
	return id == ClaimUnused || id == NoDevicesAskedFor || id == NotYetTried || id == OtherThanDevices
}

// quoteScheduler has the scheduler's words in the answer, unless a reason has them.
func (e *examination) quoteScheduler() {
	q, answered := e.schedulerSays()
	if !answered || slices.ContainsFunc(e.answer.Reasons, func(r Reason) bool {
		return slices.ContainsFunc(r.Quotes, func(known Quote) bool { return known.Text == q.Text })
	}) {
		return
	}
	e.answer.Scheduler = &q
}

func (e *examination) nodesThatCan() string {
	if e.answer.FitCount == 1 {
		return "node " + e.answer.Fits[0]
	}
	return view.Count(e.answer.FitCount, "node")
}
