package devicetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
)

// sharesAreApart has two shares of each device that several claims may have, in one claim, as for one container: it can
// tell them apart, and neither takes from it what the other gives.
func sharesAreApart(ctx context.Context, s subject) error {
	devices, err := s.sorted(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, d := range devices {
		if !ptr.Deref(d.AllowMultipleAllocations, false) {
			continue
		}
		if err := s.shares(ctx, d.Name); err != nil {
			problems = append(problems, fmt.Errorf("two shares of device %s: %w", d.Name, err))
		}
	}
	return errors.Join(problems...)
}

func (s subject) shares(ctx context.Context, name string) error {
	r, m := s.request(0, false, name, name)
	for i := range r.Devices {
		r.Devices[i].ShareID = new(types.UID(fmt.Sprintf("00000000-0000-4000-9000-%012d", i))) // alike at the beginning
	}
	before, err := s.prepare(ctx, r)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(before[0].Edits, before[1].Edits) {
		return errors.New("give a container the same")
	}
	if problems := contradictions(before[0].Edits, before[1].Edits); len(problems) > 0 {
		return errors.Join(problems...)
	}
	first := device.Grant{Claim: r.Claim, Result: r.Devices[0], Undo: m.undo[0]}
	if err := s.Unprepare(ctx, first); err != nil {
		return fmt.Errorf("unprepare the first: %w", err)
	}
	after, err := s.prepare(ctx, r)
	if err != nil {
		return fmt.Errorf("after the first was taken back: %w", err)
	}
	return errors.Join(same(before, after), s.unprepare(ctx, r, m))
}

// contradictions finds what two edits say in two ways; the last one counts in a container.
func contradictions(a, b *cdispecs.ContainerEdits) []error {
	var problems []error
	for _, variable := range b.Env {
		other := slices.IndexFunc(a.Env, func(v string) bool { return nameOf(v) == nameOf(variable) })
		if other >= 0 && a.Env[other] != variable {
			problems = append(problems, fmt.Errorf("one says %s, the other %s", a.Env[other], variable))
		}
	}
	for _, node := range b.DeviceNodes {
		for _, other := range a.DeviceNodes {
			if node.Path == other.Path && !reflect.DeepEqual(node, other) {
				problems = append(problems, fmt.Errorf("the device node %s is another one in each", node.Path))
			}
		}
	}
	for _, mount := range b.Mounts {
		for _, other := range a.Mounts {
			if mount.ContainerPath == other.ContainerPath && mount.HostPath != other.HostPath {
				problems = append(problems, fmt.Errorf("one has %s at %s, the other %s",
					other.HostPath, mount.ContainerPath, mount.HostPath))
			}
		}
	}
	return problems
}

func nameOf(variable string) string {
	name, _, _ := strings.Cut(variable, "=")
	return name
}
