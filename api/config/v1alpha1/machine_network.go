package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of the resource API (NetworkDeviceData…).
const (
	maxIPs             = 16
	maxInterfaceName   = 256
	maxHardwareAddress = 128
)

// Network is a network interface. At least one of its fields is set.
type Network struct {
	// InterfaceName is the name of the interface in the pod, with placeholders, such as net{groupIndex}.
	// +optional
	InterfaceName string `json:"interfaceName,omitempty"`

	// IPs are the addresses of the interface with the length of their network, with placeholders, such as
	// 10.1.0.{index}/24; at most 16.
	// +optional
	IPs []string `json:"ips,omitempty"`

	// HardwareAddress is the address of the interface on its link, with placeholders, such as
	// 02:00:00:00:00:{index:02x}.
	// +optional
	HardwareAddress string `json:"hardwareAddress,omitempty"`
}

// validate checks what is written.
func (n *Network) validate(at *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	if n.InterfaceName == "" && n.HardwareAddress == "" && len(n.IPs) == 0 {
		return field.ErrorList{field.Required(at, "one of interfaceName, ips and hardwareAddress")}
	}
	if len(n.IPs) > maxIPs {
		return field.ErrorList{field.TooMany(at.Child("ips"), len(n.IPs), maxIPs)}
	}
	errs := validatePlaceholders(n.InterfaceName, at.Child("interfaceName"))
	errs = append(errs, validatePlaceholders(n.HardwareAddress, at.Child("hardwareAddress"))...)
	for i, ip := range n.IPs {
		errs = append(errs, validatePlaceholders(ip, at.Child("ips").Index(i))...)
	}
	return errs
}

// filled returns the interface of one device.
func (n *Network) filled(fill filling) *Network {
	if n == nil {
		return nil
	}
	result := &Network{InterfaceName: fill.text(n.InterfaceName), HardwareAddress: fill.text(n.HardwareAddress)}
	for _, ip := range n.IPs {
		result.IPs = append(result.IPs, fill.text(ip))
	}
	return result
}

// validateFilled checks the interface of one device.
func (n *Network) validateFilled(at *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	var errs field.ErrorList
	if len(n.InterfaceName) > maxInterfaceName {
		errs = append(errs, field.TooLong(at.Child("interfaceName"), n.InterfaceName, maxInterfaceName))
	}
	if len(n.HardwareAddress) > maxHardwareAddress {
		errs = append(errs, field.TooLong(at.Child("hardwareAddress"), n.HardwareAddress, maxHardwareAddress))
	}
	seen := map[string]bool{}
	for i, ip := range n.IPs {
		errs = append(errs, validation.IsValidInterfaceAddress(at.Child("ips").Index(i), ip)...)
		if seen[ip] {
			errs = append(errs, field.Duplicate(at.Child("ips").Index(i), ip))
		}
		seen[ip] = true
	}
	return errs
}
