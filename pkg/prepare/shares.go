package prepare

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/device"
)

// OverCommittedError means that shares of a device would take more of a capacity than it has. The scheduler sees to it
// that they do not, as far as it knows which pods are gone; the node knows.
type OverCommittedError struct {
	Pool, Device string
	// Capacity is the name of what there is too little of, and Has how much of it there is.
	Capacity string
	Has      resource.Quantity
	// Wants is how much the shares of the claim take together.
	Wants resource.Quantity
	// Holders are the other claims that take some of it, by name.
	Holders []Holder
}

// Holder is a claim and how much its shares of a device take.
type Holder struct {
	Claim device.Claim
	Takes resource.Quantity
}

// namedHolders is how many claims the error names: it becomes an event of the pod.
const namedHolders = 4

func (e *OverCommittedError) Error() string {
	text := fmt.Sprintf("device %s of pool %s has %s of %s", e.Device, e.Pool, &e.Has, e.Capacity)
	if len(e.Holders) == 0 {
		return fmt.Sprintf("%s, and this claim takes %s: delete the pod so that it is scheduled again", text, &e.Wants)
	}
	holders := make([]string, 0, namedHolders+1)
	for _, h := range e.Holders[:min(len(e.Holders), namedHolders)] {
		holders = append(holders, fmt.Sprintf("claim %s holds %s", checkpoint.Claim(h.Claim), &h.Takes))
	}
	if more := len(e.Holders) - namedHolders; more > 0 {
		holders = append(holders, fmt.Sprintf("%d more hold some", more))
	}
	return fmt.Sprintf("%s, of which %s; this claim takes %s: there is room when the pods of those claims are gone from "+
		"this node", text, strings.Join(holders, ", "), &e.Wants)
}

// addSharesUp refuses shares that take more of a device than what it has beside all shares that claims hold on this
// node, those of this claim included: it holds them already, so that of two claims that want the same at the same time
// at least one finds the other. A claim that was prepared before has what it has, whatever became of the device since.
func (c *call) addSharesUp(context.Context) error {
	if c.o.Capacity == nil || c.settled {
		return nil
	}
	var last checkpoint.DeviceKey
	for _, d := range c.owned() {
		whole := checkpoint.DeviceKey{Pool: d.Pool, Device: d.DeviceKey.Device}
		if d.ShareID == "" || whole == last {
			continue
		}
		last = whole
		capacity, known := c.o.Capacity(whole.Pool, whole.Device)
		if !known {
			continue // nobody has seen the device yet, or it is gone: others say so
		}
		shares, err := c.o.Records.Shares(whole.Pool, whole.Device)
		if err == nil {
			err = c.fit(shares, whole, capacity)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fit says which capacity of a device shares take too much of.
func (c *call) fit(
	shares []checkpoint.Share, of checkpoint.DeviceKey, capacity map[resourceapi.QualifiedName]resource.Quantity,
) error {
	for _, name := range slices.Sorted(maps.Keys(capacity)) {
		e := &OverCommittedError{Pool: of.Pool, Device: of.Device, Capacity: string(name), Has: capacity[name]}
		others := make(map[device.Claim]resource.Quantity)
		var sum resource.Quantity
		for _, s := range shares {
			takes := s.Consumed[string(name)]
			sum.Add(takes)
			if s.Claim.UID == c.claim.UID {
				e.Wants.Add(takes)
			} else if !takes.IsZero() {
				before := others[device.Claim(s.Claim)]
				before.Add(takes)
				others[device.Claim(s.Claim)] = before
			}
		}
		if sum.Cmp(e.Has) <= 0 || e.Wants.IsZero() {
			continue
		}
		for claim, takes := range others {
			e.Holders = append(e.Holders, Holder{claim, takes})
		}
		slices.SortFunc(e.Holders, func(a, b Holder) int {
			return cmp.Or(cmp.Compare(a.Claim.Namespace, b.Claim.Namespace), cmp.Compare(a.Claim.Name, b.Claim.Name),
				cmp.Compare(a.Claim.UID, b.Claim.UID))
		})
		return e
	}
	return nil
}

// consumed returns what a result takes of a device's capacities, nil for a whole device.
func consumed(r resourceapi.DeviceRequestAllocationResult) checkpoint.Amounts {
	if r.ShareID == nil || len(r.ConsumedCapacity) == 0 {
		return nil
	}
	amounts := make(checkpoint.Amounts, len(r.ConsumedCapacity))
	for name, quantity := range r.ConsumedCapacity {
		amounts[string(name)] = quantity
	}
	return amounts
}

// capacityOf is the inverse of consumed.
func capacityOf(amounts checkpoint.Amounts) map[resourceapi.QualifiedName]resource.Quantity {
	if len(amounts) == 0 {
		return nil
	}
	capacity := make(map[resourceapi.QualifiedName]resource.Quantity, len(amounts))
	for name, quantity := range amounts {
		capacity[resourceapi.QualifiedName(name)] = quantity
	}
	return capacity
}
