package prepare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/device"
)

// What the API accepts in the status of a device (k8s.io/api/resource/v1, AllocatedDeviceStatus).
const (
	maxData            = resourceapi.AllocatedDeviceStatusDataMaxLength        // bytes
	maxIPs             = resourceapi.NetworkDeviceDataMaxIPs                   // addresses
	maxInterfaceName   = resourceapi.NetworkDeviceDataInterfaceNameMaxLength   // bytes
	maxHardwareAddress = resourceapi.NetworkDeviceDataHardwareAddressMaxLength // bytes
)

// shown is what a record keeps of a grant for the status of the claim.
type shown struct {
	Network *resourceapi.NetworkDeviceData `json:"network,omitempty"`
	Data    json.RawMessage                `json:"data,omitempty"`
}

// show has the record keep what the status of the claim is to show of device i. What the API would refuse is left out:
// one wrong field would cost the status of all devices of the claim.
func (c *call) show(i int, g device.Grant) {
	keep, problem := acceptable(g)
	if problem != nil {
		c.reportOnce(c.claim, fmt.Errorf("show device %s in the status of the claim: %w", g.Result.Device, problem))
	}
	c.record.Devices[i].Shown = nil
	if keep.Network == nil && keep.Data == nil {
		return
	}
	raw, err := json.Marshal(keep)
	if err != nil {
		c.reportOnce(c.claim, fmt.Errorf("keep what the status of the claim shows of device %s: %w", g.Result.Device, err))
		return
	}
	c.record.Devices[i].Shown = raw
}

// acceptable returns what of a grant the API accepts in the status of a claim, and why not all of it.
func acceptable(g device.Grant) (keep shown, problem error) {
	if err := checkNetwork(g.Network); err != nil {
		problem = errors.Join(problem, fmt.Errorf("its network data: %w", err))
	} else {
		keep.Network = g.Network.DeepCopy()
	}
	if err := checkData(g.Data); err != nil {
		problem = errors.Join(problem, fmt.Errorf("its data: %w", err))
	} else {
		keep.Data = bytes.Clone(g.Data)
	}
	return keep, problem
}

func checkData(raw json.RawMessage) error {
	var object map[string]json.RawMessage
	switch {
	case len(raw) == 0:
		return nil
	case len(raw) > maxData:
		return fmt.Errorf("it has %d bytes, and the API takes %d", len(raw), maxData)
	case json.Unmarshal(raw, &object) != nil || object == nil:
		return errors.New("it is no JSON object")
	}
	return nil
}

func checkNetwork(n *resourceapi.NetworkDeviceData) error {
	switch {
	case n == nil:
		return nil
	case len(n.InterfaceName) > maxInterfaceName:
		return fmt.Errorf("interfaceName has %d bytes, and the API takes %d", len(n.InterfaceName), maxInterfaceName)
	case len(n.HardwareAddress) > maxHardwareAddress:
		return fmt.Errorf("hardwareAddress has %d bytes, and the API takes %d", len(n.HardwareAddress), maxHardwareAddress)
	case len(n.IPs) > maxIPs:
		return fmt.Errorf("there are %d addresses, and the API takes %d", len(n.IPs), maxIPs)
	}
	for i, address := range n.IPs {
		if slices.Contains(n.IPs[:i], address) {
			return fmt.Errorf("address %s is there twice", address)
		}
		if errs := validation.IsValidInterfaceAddress(field.NewPath("ips").Index(i), address); len(errs) > 0 {
			return errs.ToAggregate()
		}
	}
	return nil
}

// shownOf reads what show kept. What cannot be read any more is not shown.
func shownOf(raw json.RawMessage) (s shown) {
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return shown{}
	}
	return s
}
