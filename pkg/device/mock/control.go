package mock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
)

const (
	controlsKind = "MockControls"
	// maxWait bounds how slow a call can be told to be.
	maxWait = time.Hour
	// maxFailures bounds how often a call can be told to fail, other than always.
	maxFailures = 1_000_000
	// maxSentence bounds what is said of a device or of a call, in bytes: as in a MachineProfile.
	maxSentence = 256
	// maxTaints is what the API has room for.
	maxTaints = resourceapi.DeviceTaintsMaxLength
)

// call is something that a backend is asked to do.
type call string

const (
	callPrepare   call = "prepare"
	callUnprepare call = "unprepare"
	callLook      call = "look"
)

// calls returns all of them, in the order in which people are told of them.
func calls() []call { return []call{callPrepare, callUnprepare, callLook} }

// controls are what a made-up machine was told to do beside what its profile says. They are kept as JSON, until the
// node reboots.
type controls struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Boot is the ID of the boot of the node that they are for.
	Boot string `json:"boot"`
	// Devices are what is different about devices, by their names.
	Devices map[string]deviceControl `json:"devices,omitempty"`
	// Calls are what is different about calls of the backend.
	Calls map[call]callControl `json:"calls,omitempty"`
}

// deviceControl is what is different about one device.
type deviceControl struct {
	// Health replaces that of the profile.
	Health *healthControl `json:"health,omitempty"`
	// Taints replace those of the profile, also if there are none in it.
	Taints *[]taintControl `json:"taints,omitempty"`
	// Removed says that the device of the profile is not there.
	Removed bool `json:"removed,omitempty"`
	// Like makes it a device that is not in the profile: what that device of the profile is.
	Like string `json:"like,omitempty"`
}

type healthControl struct {
	Unhealthy bool   `json:"unhealthy,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

type taintControl struct {
	Key    string                        `json:"key"`
	Value  string                        `json:"value,omitempty"`
	Effect resourceapi.DeviceTaintEffect `json:"effect"`
}

// callControl is what is different about one kind of call.
type callControl struct {
	// Slow is how long it takes before it begins.
	Slow metav1.Duration `json:"slow,omitzero"`
	// Fail makes it an error, after that.
	Fail *failure `json:"fail,omitempty"`
}

type failure struct {
	// Times is how often it fails from now on; 0 means always.
	Times int `json:"times,omitempty"`
	// Message is the error.
	Message string `json:"message"`
}

// effects are those that a taint can have.
func effects() []resourceapi.DeviceTaintEffect {
	return []resourceapi.DeviceTaintEffect{
		resourceapi.DeviceTaintEffectNoSchedule, resourceapi.DeviceTaintEffectNoExecute, resourceapi.DeviceTaintEffectNone,
	}
}

// decodeControls reads what encode wrote. Nothing, and what was written in another boot than the given one, are no
// controls.
func decodeControls(raw []byte, boot string) (controls, error) {
	none := noControls(boot)
	if len(raw) == 0 {
		return none, nil
	}
	var c controls
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return none, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return none, errors.New("there is something after its end")
	}
	if c.APIVersion != none.APIVersion || c.Kind != none.Kind {
		return none, fmt.Errorf("it is %q %q, not %q %q", c.APIVersion, c.Kind, none.APIVersion, none.Kind)
	}
	if c.Boot != boot {
		return none, nil
	}
	if err := c.check(); err != nil {
		return none, err
	}
	return c, nil
}

func noControls(boot string) controls {
	return controls{APIVersion: configv1alpha1.GroupVersion, Kind: controlsKind, Boot: boot}
}

func (c controls) encode() ([]byte, error) {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}

// clone returns controls that can be changed without changing these.
func (c controls) clone() controls {
	c.Devices, c.Calls = maps.Clone(c.Devices), maps.Clone(c.Calls)
	return c
}

// check returns the first thing that no command can have made so.
func (c controls) check() error {
	for _, name := range slices.Sorted(maps.Keys(c.Devices)) {
		if err := c.Devices[name].check(name); err != nil {
			return fmt.Errorf("device %q: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Calls)) {
		if err := c.Calls[name].check(name); err != nil {
			return fmt.Errorf("call %q: %w", name, err)
		}
	}
	return nil
}

func (d deviceControl) check(name string) error {
	if err := isDeviceName(name); err != nil {
		return err
	}
	if d.Like != "" && (d.Removed || isDeviceName(d.Like) != nil) {
		return fmt.Errorf("it cannot be like %q", d.Like)
	}
	if d.Health != nil {
		if err := d.Health.check(); err != nil {
			return err
		}
	}
	if d.Taints == nil {
		return nil
	}
	return checkTaints(*d.Taints)
}

func isDeviceName(name string) error {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return errors.New("the name of a device has lower case letters, digits and '-', at most 63")
	}
	return nil
}

func (h healthControl) check() error {
	if h.Unhealthy != (h.Reason != "") {
		return errors.New("it has a reason if and only if it is unhealthy")
	}
	return isSentence(h.Reason)
}

func isSentence(s string) error {
	if len(s) > maxSentence {
		return fmt.Errorf("a sentence of %d bytes is too long; there is room for %d", len(s), maxSentence)
	}
	return nil
}

func checkTaints(taints []taintControl) error {
	if len(taints) > maxTaints {
		return fmt.Errorf("%d taints are too many; there is room for %d", len(taints), maxTaints)
	}
	for i, t := range taints {
		if err := t.check(); err != nil {
			return err
		}
		if slices.ContainsFunc(taints[:i], t.sameSlot) {
			return fmt.Errorf("the taint %s:%s is there twice", t.Key, t.Effect)
		}
	}
	return nil
}

func (t taintControl) check() error {
	if problems := content.IsLabelKey(t.Key); len(problems) > 0 {
		return fmt.Errorf("the key %q of a taint: %s", t.Key, problems[0])
	}
	if problems := content.IsLabelValue(t.Value); len(problems) > 0 {
		return fmt.Errorf("the value %q of a taint: %s", t.Value, problems[0])
	}
	if !slices.Contains(effects(), t.Effect) {
		return fmt.Errorf("a taint has no effect %q; there are: %s", t.Effect, listed(effects()))
	}
	return nil
}

// sameSlot says whether one of the two replaces the other.
func (t taintControl) sameSlot(other taintControl) bool {
	return t.Key == other.Key && t.Effect == other.Effect
}

func (c callControl) check(name call) error {
	switch {
	case !slices.Contains(calls(), name):
		return fmt.Errorf("there are: %s", listed(calls()))
	case c.Slow.Duration < 0 || c.Slow.Duration > maxWait:
		return fmt.Errorf("it cannot take %s longer", c.Slow.Duration)
	case c.Fail == nil:
		return nil
	case c.Fail.Times < 0 || c.Fail.Times > maxFailures:
		return fmt.Errorf("it cannot fail %d times", c.Fail.Times)
	case c.Fail.Message == "":
		return errors.New("it cannot fail without a message")
	}
	return isSentence(c.Fail.Message)
}

// listed returns words for people.
func listed[T ~string](words []T) string {
	var b bytes.Buffer
	for i, word := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(word))
	}
	return b.String()
}
