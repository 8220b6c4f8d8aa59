package claim

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// maxErrorLength is how long the text of a [ConfigError] gets: the message of an event has room for 1024 bytes, of
// which the kubelet needs some.
const maxErrorLength = 800

// ConfigError says what is wrong with the configurations that apply to a claim: all of it, in the order of
// status.allocation.devices.config. Its text may be cut; Problems are complete.
type ConfigError struct {
	Problems []Problem
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Source names the object whose fields Detail is about; empty means the claim itself.
	Source string
	Detail *field.Error
}

func (p Problem) String() string {
	if p.Source == "" {
		return p.Detail.Error()
	}
	return p.Source + ": " + p.Detail.Error()
}

func (e *ConfigError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		text := p.String()
		if i > 0 && b.Len()+len(text) > maxErrorLength {
			return fmt.Sprintf("%s; and %d more", b.String(), len(e.Problems)-i)
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(shortened(text, maxErrorLength))
	}
	return b.String()
}

// Unwrap returns the details of all problems.
func (e *ConfigError) Unwrap() []error {
	errs := make([]error, 0, len(e.Problems))
	for _, p := range e.Problems {
		errs = append(errs, p.Detail)
	}
	return errs
}

// ResultError says why a device that was allocated on this driver cannot be given: the allocation contradicts itself or
// is for another node. No user can mend it in the claim.
type ResultError struct {
	Request, Pool, Device string
	// Reason follows "device D of pool P, allocated for request R, " in the text.
	Reason string
}

func (e *ResultError) Error() string {
	return fmt.Sprintf("device %q of pool %q, allocated for request %q, %s",
		shortened(e.Device, 80), shortened(e.Pool, 260), shortened(e.Request, 140), e.Reason)
}

// shareIDs are UUIDs; this is what is needed of them to be part of names.
var shareID = regexp.MustCompile(`^[0-9a-zA-Z-]{1,64}$`)

// checkResults makes sure that the devices are of this node, have names that can be part of other names, and are
// there once each. The API server and the scheduler see to that; a driver must not depend on it.
func checkResults(devices []Device, poolName string) error {
	seen := make(map[[2]string]bool)
	had := make(map[string]bool) // devices that the claim has, and whether in shares
	for _, d := range devices {
		key := [2]string{d.Result.Device, string(ptr.Deref(d.Result.ShareID, ""))}
		reason := ""
		switch {
		case d.Result.Pool != poolName:
			reason = fmt.Sprintf("is not on this node, which has pool %q only; "+
				"delete the pod so that it is scheduled again", poolName)
		case len(validation.IsDNS1123Label(d.Result.Device)) > 0:
			reason = "cannot exist: its name is not a DNS label"
		case d.Result.ShareID != nil && !shareID.MatchString(key[1]):
			reason = fmt.Sprintf("has the share ID %q, which is not a UUID", shortened(key[1], 80))
		case seen[key]:
			reason = "is in the claim twice"
		case !d.adminAccess():
			if shared, again := had[key[0]]; again && shared != (d.Result.ShareID != nil) {
				reason = "is in the claim as a whole and in shares"
			}
			had[key[0]] = d.Result.ShareID != nil
		}
		if reason != "" {
			return &ResultError{Request: d.Result.Request, Pool: d.Result.Pool, Device: d.Result.Device, Reason: reason}
		}
		seen[key] = true
	}
	return nil
}

// shortened cuts s to at most n bytes, between characters.
func shortened(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// quoted returns `noun "a"` or `nouns "a", "b"`.
func quoted(noun string, names []string) string {
	if len(names) > 1 {
		noun += "s"
	}
	all := make([]string, 0, len(names))
	for _, name := range names {
		all = append(all, strconv.Quote(shortened(name, 140)))
	}
	return noun + " " + strings.Join(all, ", ")
}
