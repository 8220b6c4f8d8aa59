package checkpoint

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// ErrNotFound means that nothing is remembered of a claim.
var ErrNotFound = errors.New("there is no record")

// ErrOwnerUnknown means that the file system did not say whether another claim owns a device.
var ErrOwnerUnknown = errors.New("it is not known who holds it")

// CorruptError means that a claim was recorded, but that its record cannot be read. The claim must not be taken for one
// that is not prepared: its markers still say which devices it holds.
type CorruptError struct {
	UID types.UID
	// Path is where the record belongs.
	Path string
	// QuarantinedTo is where the unreadable record is now; empty if it was not moved.
	QuarantinedTo string
	// Earlier means that it was moved before this call, and reported then.
	Earlier bool
	Reason  string
}

func (e *CorruptError) Error() string {
	if e.QuarantinedTo == "" {
		return fmt.Sprintf("record %s is corrupt: %s", e.Path, e.Reason)
	}
	return fmt.Sprintf("record %s is corrupt: %s; it was moved to %s, and the claim keeps its devices until it is "+
		"unprepared", e.Path, e.Reason, e.QuarantinedTo)
}

// VersionError means that a newer program wrote the record of a claim. The record is left alone and the claim keeps its
// devices.
type VersionError struct {
	UID     types.UID
	Path    string
	Version int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("record %s has format v%d, this program reads formats up to v%d: run the newer version of the "+
		"driver again until the pods of the claim are gone", e.Path, e.Version, formatVersion)
}

// HeldError means that another claim owns a device on this node, or that other claims own shares of it.
type HeldError struct {
	Key DeviceKey
	// By is the owner; without a UID if the marker does not say.
	By Claim
	// Sharers are the owners of shares, each once, if Key is a whole device that is held in shares; By is the first.
	Sharers []Claim
	// Path is the marker.
	Path string
}

func (e *HeldError) Error() string {
	if e.By.UID == "" {
		return fmt.Sprintf("%s is held, but the marker %s does not say by which claim: "+
			"remove it when no container uses the device", e.Key, e.Path)
	}
	if len(e.Sharers) > 0 {
		return fmt.Sprintf("%s is held in shares by %s: it becomes free when the pods of these claims are gone from this "+
			"node", e.Key, named(e.Sharers))
	}
	return fmt.Sprintf("%s is held by claim %s: it becomes free when the pods of that claim are gone from this node",
		e.Key, e.By)
}

// namedClaims is how many claims an error names: it becomes an event of the pod.
const namedClaims = 4

// named returns claims as part of a sentence: "claims a/b (uid c), d/e (uid f) and 3 more".
func named(claims []Claim) string {
	names := make([]string, 0, namedClaims)
	for _, c := range claims[:min(len(claims), namedClaims)] {
		names = append(names, c.String())
	}
	text := "claim " + strings.Join(names, ", ")
	if len(claims) > 1 {
		text = "claims " + strings.Join(names, ", ")
	}
	if more := len(claims) - namedClaims; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
