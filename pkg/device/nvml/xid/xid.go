package xid

import "fmt"

// Severity is how bad an error is for who gets the GPU next. A larger one is worse.
type Severity int

const (
	// Harmless is the fault of a program, or its end, or news: it says nothing against the GPU.
	Harmless Severity = iota
	// Degraded means that the GPU still works, but needs attention before somebody else uses it.
	Degraded
	// Fatal means that the GPU does not work until it is reset or replaced.
	Fatal
)

// String returns the name of the severity.
func (s Severity) String() string {
	switch s {
	case Harmless:
		return "Harmless"
	case Degraded:
		return "Degraded"
	case Fatal:
		return "Fatal"
	}
	return fmt.Sprintf("Severity(%d)", int(s))
}

// Policy is what to make of an XID.
type Policy struct {
	Severity Severity
	// Sentence says what happened and what to do, without a full stop.
	Sentence string
}

// Decide says what to make of an XID. One that is in no list is taken seriously: it is Degraded.
func Decide(xid uint64) Policy {
	if policy, ok := policies()[xid]; ok {
		policy.Sentence = fmt.Sprintf("XID %d: %s", xid, policy.Sentence)
		return policy
	}
	return Policy{Degraded, fmt.Sprintf("XID %d: an error of the GPU; see NVIDIA's list of XIDs", xid)}
}

func policies() map[uint64]Policy {
	return map[uint64]Policy{
		13:  {Harmless, "a program made an error in graphics or compute code"},
		31:  {Harmless, "a program accessed memory that it does not have"},
		43:  {Harmless, "a program was stopped after an error of its own"},
		45:  {Harmless, "a program's work was cleaned up after it ended"},
		46:  {Fatal, "the GPU stopped processing; reset the GPU"},
		48:  {Fatal, "a memory error that cannot be corrected (double-bit ECC); reset the GPU"},
		61:  {Fatal, "the GPU's microcontroller stopped; reset the GPU"},
		62:  {Fatal, "the GPU's microcontroller halted; reset the GPU"},
		63:  {Degraded, "bad memory is to be replaced by spare memory; reset the GPU when it is idle"},
		64:  {Fatal, "bad memory could not be replaced by spare memory; reset the GPU, and if it comes again replace it"},
		68:  {Harmless, "a program's video work caused an error"},
		74:  {Fatal, "an NVLink connection has an error; reset the GPU and look at its NVLink partners"},
		79:  {Fatal, "the GPU has fallen off the bus; reboot the node; if it comes again, see its power and seat"},
		92:  {Degraded, "memory has many errors that could be corrected; run a diagnosis"},
		94:  {Degraded, "a memory error that cannot be corrected hit one program only; reset the GPU when it is idle"},
		95:  {Fatal, "a memory error that cannot be corrected may have hit all programs; reset the GPU"},
		106: {Harmless, "a test message"},
		107: {Harmless, "a test message"},
		109: {Harmless, "a program's context switch took too long"},
		110: {Fatal, "a security fault; reboot the node"},
		119: {Fatal, "the GPU's system processor (GSP) does not answer; reset the GPU"},
		120: {Fatal, "the GPU's system processor (GSP) reports an error; reset the GPU"},
		121: {Harmless, "the link between the GPU and the processor (C2C) had errors, which were corrected"},
		136: {Fatal, "link training failed; reset the GPU"},
		140: {Fatal, "a memory error that could not be recovered; reset the GPU"},
		143: {Fatal, "the GPU could not be initialised; reset the GPU"},
		149: {Fatal, "an NVLink connection has an error; reset the GPU and look at its NVLink partners"},
		154: {Harmless, "the recovery that the GPU asks for changed"},
		155: {Degraded, "an NVLink connection was lost by software; look at the GPU's NVLink partners"},
		156: {Degraded, "a resource of the GPU was retired; reset the GPU when it is idle"},
		158: {Fatal, "the GPU's time-out was fatal; reset the GPU"},
	}
}
