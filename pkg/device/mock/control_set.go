package mock

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
)

func parseSet(words []string) (Command, error) {
	name, words, err := deviceWord("set", words)
	if err != nil {
		return Command{}, err
	}
	var settings []setting
	var others []string
	for _, word := range words {
		one, ok, err := parseTaint(word)
		if err != nil {
			return Command{}, err
		}
		if ok {
			settings = append(settings, one)
		} else {
			others = append(others, word)
		}
	}
	values, err := options("set", others, "health", "reason")
	if err != nil {
		return Command{}, err
	}
	health, err := parseHealth(values)
	if err != nil {
		return Command{}, err
	}
	if settings = append(health, settings...); len(settings) == 0 {
		return Command{}, usage("set", "it is missing what to set")
	}
	return Command{change: func(c *controls, m machine) (string, error) { return c.set(m, name, settings) }}, nil
}

// setting changes one thing about a device and says so.
type setting func(told *deviceControl, profile, now device.Device) (said string, err error)

// set changes a device that is there.
func (c *controls) set(m machine, name string, settings []setting) (string, error) {
	now, err := m.find(name, c)
	if err != nil {
		return "", err
	}
	profile, ok := deviceNamed(m.profile, name)
	if !ok {
		profile = now // it was added, and healthy and without taints
		profile.Health, profile.Taints = device.Health{}, nil
	}
	told := c.Devices[name]
	var said []string
	for _, setting := range settings {
		sentence, err := setting(&told, profile, now)
		if err != nil {
			return "", fmt.Errorf("set %s: %w", name, err)
		}
		told.change(&now)
		said = append(said, name+" "+sentence)
	}
	c.tell(name, told)
	return strings.Join(said, "\n"), nil
}

// tell replaces what was told of a device.
func (c *controls) tell(name string, told deviceControl) {
	if told == (deviceControl{}) {
		delete(c.Devices, name)
		return
	}
	if c.Devices == nil {
		c.Devices = map[string]deviceControl{}
	}
	c.Devices[name] = told
}

func parseHealth(values map[string]string) ([]setting, error) {
	health, set := values["health"]
	reason, because := values["reason"]
	switch {
	case !set && because:
		return nil, usage("set", "a reason is one for health=unhealthy")
	case !set:
		return nil, nil
	case health == "healthy" && because:
		return nil, usage("set", "a healthy device has no reason")
	case health != "healthy" && health != "unhealthy":
		return nil, usage("set", fmt.Sprintf("health=%s is neither healthy nor unhealthy", health))
	}
	want := device.Health{Unhealthy: health == "unhealthy", Reason: reason}
	if want.Unhealthy && reason == "" {
		want.Reason = "dragoman mock said so"
	}
	if err := isSentence(want.Reason); err != nil {
		return nil, usage("set", "reason: "+err.Error())
	}
	return []setting{func(told *deviceControl, profile, _ device.Device) (string, error) {
		told.Health = &healthControl{Unhealthy: want.Unhealthy, Reason: want.Reason}
		if want == profile.Health && profile.PartOf == "" { // a part may have to differ from its device
			told.Health = nil
		}
		if want.Unhealthy {
			return "is unhealthy: " + want.Reason, nil
		}
		return "is healthy", nil
	}}, nil
}

// parseTaint reads taint=key[=value]:effect, taint=key[:effect]- and taint-; false for another word.
func parseTaint(word string) (set setting, ok bool, err error) {
	text, isTaint := strings.CutPrefix(word, "taint")
	if !isTaint {
		return nil, false, nil
	}
	if text == "-" {
		return setTaints(func([]taintControl) []taintControl { return nil }, "has no taints"), true, nil
	}
	text, isTaint = strings.CutPrefix(text, "=")
	if !isTaint {
		return nil, false, nil
	}
	text, away := strings.CutSuffix(text, "-")
	rest, effect, hasEffect := strings.Cut(text, ":")
	key, value, hasValue := strings.Cut(rest, "=")
	t := taintControl{Key: key, Value: value, Effect: resourceapi.DeviceTaintEffect(effect)}
	anyEffect := away && !hasEffect
	checked := t
	if anyEffect {
		checked.Effect = resourceapi.DeviceTaintEffectNone
	}
	if err := checked.check(); err != nil || away && hasValue {
		if err == nil {
			err = errors.New("a taint is taken away by its key, without a value")
		}
		return nil, false, usage("set", fmt.Sprintf("%q: %v", word, err))
	}
	without := func(taints []taintControl) []taintControl {
		return slices.DeleteFunc(taints, func(other taintControl) bool {
			return other.sameSlot(t) || anyEffect && other.Key == t.Key
		})
	}
	if away {
		return setTaints(without, "has the taint "+text+" no more"), true, nil
	}
	return setTaints(func(taints []taintControl) []taintControl { return append(without(taints), t) },
		"has the taint "+text), true, nil
}

func setTaints(change func([]taintControl) []taintControl, said string) setting {
	return func(told *deviceControl, profile, now device.Device) (string, error) {
		taints := change(tainted(now))
		if err := checkTaints(taints); err != nil {
			return "", err
		}
		told.Taints = &taints
		if slices.Equal(taints, tainted(profile)) && profile.PartOf == "" { // a part may have to differ from its device
			told.Taints = nil
		}
		return said, nil
	}
}
