//go:build cgo

package nvml

import (
	"fmt"
	"strings"
	"unicode/utf8"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/deviceattribute"

	"example.com/dragoman/pkg/device"
)

type (
	attributes = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute
	capacities = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity
)

// gpuName is the name of a GPU as a device: it follows the GPU over reboots, other slots and other drivers, which no
// minor number or index does.
func gpuName(uuid string) string {
	name := "gpu-" + strings.ToLower(strings.TrimPrefix(uuid, "GPU-"))
	if len(validation.IsDNS1123Label(name)) == 0 {
		return name
	}
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	return strings.TrimRight(name[:min(len(name), validation.DNS1123LabelMaxLength)], "-")
}

// whole is a GPU as one device.
func whole(f facts) device.Device {
	d := device.Device{Device: resourceapi.Device{Name: gpuName(f.uuid), Attributes: attributesOf(f)}}
	d.Attributes["type"] = text("gpu")
	d.Attributes["uuid"] = text(f.uuid)
	if f.memory != nil {
		d.Capacity = capacities{"memory": {Value: *resource.NewQuantity(int64(*f.memory), resource.BinarySI)}}
	}
	return d
}

// attributesOf are the attributes that a GPU shares with what is cut from it. What is not known is left out.
func attributesOf(f facts) attributes {
	a := attributes{"index": {IntValue: new(int64(f.index))}}
	for name, value := range map[resourceapi.QualifiedName]string{
		"productName":    f.product,
		"model":          f.product, // what the upstream example driver calls it
		"brand":          f.brand,
		"architecture":   f.architectureTxt,
		"addressingMode": f.addressingMode,
		deviceattribute.StandardDeviceAttributePCIBusID: f.pciBusID,
		deviceattribute.StandardDeviceAttributePCIeRoot: f.pcieRoot,
	} {
		if value != "" {
			a[name] = text(value)
		}
	}
	if f.numaNode != nil {
		a[deviceattribute.StandardDeviceAttributeNUMANode] = resourceapi.DeviceAttribute{IntValue: f.numaNode}
	}
	if f.computeMajor != nil {
		version := fmt.Sprintf("%d.%d.0", *f.computeMajor, f.computeMinor)
		a["cudaComputeCapability"] = resourceapi.DeviceAttribute{VersionValue: &version}
	}
	if version := semantic(f.driver); version != "" {
		a["driverVersion"] = resourceapi.DeviceAttribute{VersionValue: &version}
	} else if f.driver != "" {
		a["driverVersion"] = text(f.driver)
	}
	if f.cuda > 0 {
		version := fmt.Sprintf("%d.%d.0", f.cuda/1000, f.cuda%1000/10) // nvmlSystemGetCudaDriverVersion
		a["cudaDriverVersion"] = resourceapi.DeviceAttribute{VersionValue: &version}
	}
	return a
}

// text is a string attribute, cut to what the API server accepts.
func text(s string) resourceapi.DeviceAttribute {
	s = strings.ToValidUTF8(s, "")
	for len(s) > resourceapi.DeviceAttributeMaxValueLength {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return resourceapi.DeviceAttribute{StringValue: &s}
}
