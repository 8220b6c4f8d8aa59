package history

import (
	"slices"
	"strings"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Prepare   Kind = "prepare"       // calls NodePrepareResources for Claim
	Unprepare Kind = "unprepare"     // calls NodeUnprepareResources for Claim
	AtOnce    Kind = "at once"       // makes the Calls side by side
	Delete    Kind = "delete"        // removes the object of Claim, whatever it is
	Restart   Kind = "restart"       // asks the driver to end, and starts it again
	Kill      Kind = "kill"          // kill -9, and starts it again
	Update    Kind = "update"        // starts another instance, then ends the older one
	Reboot    Kind = "reboot"        // kill -9, and starts it again without what does not survive a boot
	Wipe      Kind = "wipe"          // removes the CDI files
	Begin     Kind = "fault begins"  // begins Fault
	End       Kind = "fault is over" // ends it
)

// Fault is a state of the driver's surroundings in which it may answer with an error.
type Fault string

// The faults, and what may fail while they last.
const (
	NoAPIServer Fault = "the API server cannot be reached" // prepare may fail; unprepare needs no API server
	FullDisk    Fault = "the disk is full"                 // prepare may fail; unprepare needs no space
	ReadOnly    Fault = "the disk is read-only"            // both may fail
)

// Operation is one step of a plan.
type Operation struct {
	Kind  Kind
	Claim int // its index; of Prepare, Unprepare and Delete
	// Calls of AtOnce: each one is Prepare or Unprepare.
	Calls []Operation
	// Killed lets the driver be killed while the call or the calls are in progress, and be started again.
	Killed bool
	// Fault of Begin and End.
	Fault Fault
}

// Claim is a claim of a plan: what was allocated to it, whether or not it is prepared.
type Claim struct {
	Name    string
	Devices []string
	// Shares says that others may have the devices too: admin access, or a share.
	Shares bool
}

// String says what the operation does to claims of these names.
func (o Operation) describe(claims []Claim) string {
	var text string
	switch o.Kind {
	case AtOnce:
		parts := make([]string, 0, len(o.Calls))
		for _, call := range o.Calls {
			parts = append(parts, call.describe(claims))
		}
		text = "at once: " + strings.Join(parts, ", ")
	case Prepare, Unprepare:
		text = string(o.Kind) + " " + claims[o.Claim].Name
	case Delete:
		text = "delete the object of " + claims[o.Claim].Name
	case Restart:
		text = "end the driver and start it again"
	case Kill:
		text = "kill -9 the driver and start it again"
	case Update:
		text = "start another instance, then end the older one"
	case Reboot:
		text = "kill -9 the driver and start it again as after a reboot"
	case Wipe:
		text = "remove the CDI files"
	case Begin:
		text = "from here " + string(o.Fault)
	case End:
		text = "no longer: " + string(o.Fault)
	}
	if o.Killed {
		text += "; kill -9 the driver meanwhile and start it again"
	}
	return text
}

// startsDriver says whether the operation starts a driver, which no fault leaves it a fair chance to do.
func (o Operation) startsDriver() bool {
	return o.Killed || slices.Contains([]Kind{Restart, Kill, Update, Reboot}, o.Kind)
}

// tidy takes out what makes no sense once other operations are taken out: the end of a fault that never began, a
// beginning of one that lasts, and starts of the driver while a fault lasts.
func tidy(plan []Operation) []Operation {
	var kept []Operation
	lasting := map[Fault]bool{}
	for _, o := range plan {
		switch {
		case o.Kind == Begin && lasting[o.Fault], o.Kind == End && !lasting[o.Fault]:
			continue
		case o.Kind == Begin:
			lasting[o.Fault] = true
		case o.Kind == End:
			delete(lasting, o.Fault)
		case o.startsDriver() && len(lasting) > 0:
			if o.Killed = false; o.startsDriver() {
				continue
			}
		}
		kept = append(kept, o)
	}
	return kept
}
