//go:build cgo

package nvml

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
)

// undo is what taking back one device needs.
type undo struct {
	// Part is for unmakePart, Sharing for unshare.
	Part    json.RawMessage `json:"part,omitempty"`
	Sharing json.RawMessage `json:"sharing,omitempty"`
}

// memory collects what undoing takes and has the caller remember it.
type memory struct {
	request device.Request
	undo    []undo
	last    []json.RawMessage // what was remembered for each device
}

func (m *memory) remember(i int, change func(*undo)) error {
	change(&m.undo[i])
	raw, err := json.Marshal(m.undo[i])
	if err != nil {
		return fmt.Errorf("remember how to undo it: %w", err)
	}
	if err := m.request.Remember(i, raw); err != nil {
		return fmt.Errorf("remember how to undo it: %w", err)
	}
	m.last[i] = raw
	return nil
}

// Prepare sets devices up. A whole GPU needs nothing but edits unless the configuration asks for a setting; of all
// GPUs the edits come first, because they change nothing.
func (b *Backend) Prepare(ctx context.Context, r device.Request) ([]device.Grant, error) {
	targets, err := b.find(ctx, r.Devices)
	if err != nil {
		return nil, err
	}
	m := &memory{request: r, undo: make([]undo, len(targets)), last: make([]json.RawMessage, len(targets))}
	grants := make([]device.Grant, len(targets))
	for i, t := range targets {
		injection, err := b.inject(ctx, t.gpu)
		if err != nil {
			return nil, err
		}
		if t.offer.part != nil {
			injection.device = ofPart(injection.device)
		}
		injection.device.Env = append(injection.device.Env, device.Environment(r, i)...)
		grants[i] = device.Grant{
			Claim: r.Claim, Result: r.Devices[i], Edits: injection.device, Common: injection.common,
		}
	}
	for i, t := range targets {
		remember := func(raw json.RawMessage) error { return m.remember(i, func(u *undo) { u.Part = raw }) }
		make := b.makePart
		if t.offer.part == nil {
			make = b.makeWhole
		}
		more, err := make(ctx, r, i, t, remember)
		if err != nil {
			return nil, fmt.Errorf("prepare device %s: %w", t.offer.device.Name, err)
		}
		add(grants[i].Edits, more)
	}
	shared, err := b.share(ctx, r, targets, func(i int, raw json.RawMessage) error {
		return m.remember(i, func(u *undo) { u.Sharing = raw })
	})
	if err != nil {
		return nil, err
	}
	for i := range grants {
		add(grants[i].Edits, shared[i])
		grants[i].Undo = m.last[i]
	}
	return grants, nil
}

// Unprepare takes a device back: first how it was shared, which may hold the part of the GPU that goes then.
func (b *Backend) Unprepare(ctx context.Context, g device.Grant) error {
	var u undo
	if err := json.Unmarshal(g.Undo, &u); err != nil {
		u = undo{} // none, or not ours: the two below know what to look for
	}
	if err := b.unshare(ctx, g, u.Sharing); err != nil {
		return fmt.Errorf("unprepare device %s: %w", g.Result.Device, err)
	}
	if err := b.unmakePart(ctx, g, u.Part); err != nil {
		return fmt.Errorf("unprepare device %s: %w", g.Result.Device, err)
	}
	return nil
}

// ofPart leaves of a GPU's edits what a part of it needs: the display nodes are the whole GPU's.
func ofPart(edits *cdispecs.ContainerEdits) *cdispecs.ContainerEdits {
	edits.DeviceNodes = slices.DeleteFunc(edits.DeviceNodes, func(n *cdispecs.DeviceNode) bool {
		return strings.HasPrefix(n.Path, "/dev/dri/")
	})
	edits.Hooks = slices.DeleteFunc(edits.Hooks, func(h *cdispecs.Hook) bool {
		return slices.ContainsFunc(h.Args, func(arg string) bool { return strings.Contains(arg, "/dev/dri/") })
	})
	return edits
}

// add adds edits to edits. A variable that is there already gets the new value.
func add(edits, more *cdispecs.ContainerEdits) {
	if more == nil {
		return
	}
	for _, variable := range more.Env {
		name, _, _ := strings.Cut(variable, "=")
		edits.Env = append(without(edits.Env, name), variable)
	}
	for _, node := range more.DeviceNodes {
		if !hasNode(edits, path.Clean(node.Path)) {
			edits.DeviceNodes = append(edits.DeviceNodes, node)
		}
	}
	edits.Mounts = append(edits.Mounts, more.Mounts...)
	edits.Hooks = append(edits.Hooks, more.Hooks...)
	edits.AdditionalGIDs = append(edits.AdditionalGIDs, more.AdditionalGIDs...)
}
