package history

import (
	"fmt"
	"slices"
	"strings"
)

// Answer is what came of an operation.
type Answer struct {
	Err  string   // the error of a call
	IDs  []string // the CDI device IDs of a Prepare that went well
	Dead string   // why the driver did not come back, after an operation that starts it
}

// View is what is there after an operation.
type View struct {
	Unresolved map[string]string // of the IDs that were asked for those that do not resolve, and why
	Traces     map[int][]string  // by claim: files that name it
	Strays     []string          // files that are there too, beyond those that are there when no claim ever was prepared
}

// Violation says which invariant does not hold, in a sentence.
type Violation struct {
	Invariant string // I1 to I7, or "progress" for a call that failed without a reason
	Message   string
}

func (v *Violation) String() string { return v.Invariant + ": " + v.Message }

func violated(invariant, format string, args ...any) *Violation {
	return &Violation{Invariant: invariant, Message: fmt.Sprintf(format, args...)}
}

// status is what a kubelet may rely on.
type status int

const (
	unprepared status = iota // nothing of it may be there
	unclear                  // a call failed or died: anything may be there, until the next one succeeds
	prepared                 // it has its devices, and containers may run
)

type standing struct {
	status
	ids      []string // of a prepared claim
	resolves bool     // false after the CDI files were removed, until the claim is prepared once more
	deleted  bool
}

// model is what may be true of all claims at one time.
type model struct {
	claims   []Claim
	standing []standing
	faults   []Fault // those that last
}

func newModel(claims []Claim) model {
	return model{claims: claims, standing: make([]standing, len(claims))}
}

func (m model) clone() model {
	m.standing, m.faults = slices.Clone(m.standing), slices.Clone(m.faults)
	return m
}

// after returns the model after an operation with this answer, or what is wrong with the answer.
func (m model) after(o Operation, a Answer) (model, *Violation) {
	m = m.clone()
	if a.Dead != "" {
		return m, violated("progress", "the driver does not come back: %s", a.Dead)
	}
	switch o.Kind {
	case Prepare:
		return m, m.prepare(o, a)
	case Unprepare:
		return m, m.unprepare(o, a)
	case Delete:
		m.standing[o.Claim].deleted = true
		m.cloud(o.Claim)
	case Reboot:
		for claim := range m.standing {
			m.cloud(claim)
		}
	case Wipe:
		for claim := range m.standing {
			m.standing[claim].resolves = false
		}
	case Begin:
		m.faults = append(m.faults, o.Fault)
	case End:
		m.faults = slices.DeleteFunc(m.faults, func(f Fault) bool { return f == o.Fault })
	case AtOnce, Restart, Kill, Update: // what was true before is to be true afterwards
	}
	return m, nil
}

// cloud says that nothing is certain about a claim, unless it is certain that nothing of it is there.
func (m model) cloud(claim int) {
	if s := &m.standing[claim]; s.status == prepared {
		s.status, s.ids = unclear, nil
	}
}

func (m model) prepare(o Operation, a Answer) *Violation {
	s, claim := &m.standing[o.Claim], m.claims[o.Claim]
	if a.Err != "" {
		reason := o.Killed || s.deleted || len(m.faults) > 0 || m.rival(o.Claim, unclear) >= 0
		if s.status == unprepared {
			s.status = unclear
		}
		switch {
		case reason:
			return nil
		case s.status == prepared:
			return violated("I5", "prepare of %s, which is prepared, is answered with an error: %s", claim.Name, a.Err)
		}
		return violated("progress", "nothing stands in the way of %s, and its prepare is answered with an error: %s",
			claim.Name, a.Err)
	}
	if rival := m.rival(o.Claim, prepared); rival >= 0 {
		return violated("I3", "%s is prepared with a device that %s has, and neither shares it: %s and %s",
			claim.Name, m.claims[rival].Name, list(claim.Devices), list(m.claims[rival].Devices))
	}
	if s.status == prepared && !slices.Equal(s.ids, a.IDs) {
		return violated("I5", "the repeated prepare of %s is answered with %s, and the one before with %s",
			claim.Name, list(a.IDs), list(s.ids))
	}
	if s.deleted { // the driver may take back what belongs to no claim
		s.status = unclear
		return nil
	}
	s.status, s.ids, s.resolves = prepared, a.IDs, true
	return nil
}

func (m model) unprepare(o Operation, a Answer) *Violation {
	s := &m.standing[o.Claim]
	if a.Err == "" {
		s.status, s.ids, s.resolves = unprepared, nil, false
		return nil
	}
	m.cloud(o.Claim)
	if !o.Killed && !slices.Contains(m.faults, ReadOnly) {
		return violated("progress", "unprepare of %s is answered with an error: %s", m.claims[o.Claim].Name, a.Err)
	}
	return nil
}

// rival returns another claim that has a device of the claim to itself, at least as certainly as said, or -1.
func (m model) rival(claim int, least status) int {
	if m.claims[claim].Shares {
		return -1
	}
	for other, s := range m.standing {
		if other == claim || m.claims[other].Shares || s.status < least {
			continue
		}
		for _, device := range m.claims[other].Devices {
			if slices.Contains(m.claims[claim].Devices, device) {
				return other
			}
		}
	}
	return -1
}

// ids returns what must resolve.
func (m model) ids() []string {
	var ids []string
	for _, s := range m.standing {
		if s.status == prepared && s.resolves {
			ids = append(ids, s.ids...)
		}
	}
	return ids
}

// contradicts says what must not be as it is seen.
func (m model) contradicts(v View) *Violation {
	clear := true
	for claim, s := range m.standing {
		name := m.claims[claim].Name
		clear = clear && s.status == unprepared
		switch {
		case s.status == unprepared && len(v.Traces[claim]) > 0:
			return violated("I4", "%s is not prepared, and this is left of it: %s", name, list(v.Traces[claim]))
		case s.status == prepared && s.resolves:
			for _, id := range s.ids {
				if why := v.Unresolved[id]; why != "" {
					return violated("I1", "%s is prepared, and its %s does not resolve: %s", name, id, why)
				}
			}
		}
	}
	if clear && len(v.Strays) > 0 {
		return violated("I2", "no claim is prepared, and this is left: %s", list(v.Strays))
	}
	return nil
}

func list(items []string) string {
	if len(items) == 0 {
		return "nothing"
	}
	return strings.Join(items, ", ")
}
