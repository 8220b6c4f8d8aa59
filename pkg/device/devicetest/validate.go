package devicetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
)

var (
	variablePattern = regexp.MustCompile(`^[A-Z0-9_]+=`)
	versionPattern  = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-+][0-9A-Za-z.+-]+)?$`)
)

func devicesAreValid(ctx context.Context, s subject) error {
	snapshot, err := s.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	if len(snapshot.Devices) == 0 {
		return errors.New("the backend under test has no devices")
	}
	var problems []error
	names, sets := map[string]bool{}, map[string]map[string]resourceapi.Counter{}
	for _, set := range snapshot.SharedCounters {
		if sets[set.Name] != nil {
			problems = append(problems, fmt.Errorf("two counter sets have the name %s", set.Name))
		}
		if n := len(set.Counters); n == 0 || n > resourceapi.ResourceSliceMaxCountersPerCounterSet {
			problems = append(problems, fmt.Errorf("the counter set %s has %d counters", set.Name, n))
		}
		sets[set.Name] = set.Counters
	}
	for _, d := range snapshot.Devices {
		for _, problem := range validateDevice(d, sets) {
			problems = append(problems, fmt.Errorf("device %s: %w", d.Name, problem))
		}
		if names[d.Name] {
			problems = append(problems, fmt.Errorf("two devices have the name %s", d.Name))
		}
		names[d.Name] = true
	}
	return errors.Join(append(problems, partsAreOfWholes(snapshot)...)...)
}

// partsAreOfWholes: what is cut is a whole device. It need not be there.
func partsAreOfWholes(snapshot device.Snapshot) []error {
	of := map[string]string{}
	for _, d := range snapshot.Devices {
		of[d.Name] = d.PartOf
	}
	var problems []error
	for _, d := range snapshot.Devices {
		if whole := of[d.PartOf]; whole != "" {
			problems = append(problems, fmt.Errorf("device %s is part of %s, which is part of %s", d.Name, d.PartOf, whole))
		}
	}
	return problems
}

func validateDevice(d device.Device, sets map[string]map[string]resourceapi.Counter) []error {
	var problems []error
	for _, problem := range validation.IsDNS1123Label(d.Name) {
		problems = append(problems, errors.New(problem))
	}
	if d.Health.Unhealthy != (d.Health.Reason != "") {
		problems = append(problems, errors.New("an unhealthy device has a reason, a healthy one has none"))
	}
	for name, attribute := range d.Attributes {
		if err := validateName(name); err != nil {
			problems = append(problems, err)
		}
		if err := validateAttribute(attribute); err != nil {
			problems = append(problems, fmt.Errorf("attribute %s: %w", name, err))
		}
	}
	for name, capacity := range d.Capacity {
		if err := validateName(name); err != nil {
			problems = append(problems, err)
		}
		if capacity.RequestPolicy != nil && !ptr.Deref(d.AllowMultipleAllocations, false) {
			problems = append(problems, fmt.Errorf("capacity %s has a request policy, which only a device that allows "+
				"multiple allocations may have", name))
		}
	}
	const most = resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice
	if n := len(d.Attributes) + len(d.Capacity); n > most {
		problems = append(problems, fmt.Errorf("has %d attributes and capacities and may have %d", n, most))
	}
	return append(problems, validateRest(d, sets)...)
}

// validateRest checks what few devices have.
func validateRest(d device.Device, sets map[string]map[string]resourceapi.Counter) []error {
	var problems []error
	for _, consumes := range d.ConsumesCounters {
		set, ok := sets[consumes.CounterSet]
		if !ok {
			problems = append(problems,
				fmt.Errorf("consumes counters of the set %q, which is not there", consumes.CounterSet))
		}
		for name := range consumes.Counters {
			if _, there := set[name]; ok && !there {
				problems = append(problems, fmt.Errorf("consumes %q of the set %q, which has no such counter",
					name, consumes.CounterSet))
			}
		}
	}
	for what, count := range map[string]struct{ is, most int }{
		"taints":                     {len(d.Taints), resourceapi.DeviceTaintsMaxLength},
		"binding conditions":         {len(d.BindingConditions), resourceapi.BindingConditionsMaxSize},
		"binding failure conditions": {len(d.BindingFailureConditions), resourceapi.BindingFailureConditionsMaxSize},
	} {
		if count.is > count.most {
			problems = append(problems, fmt.Errorf("has %d %s and may have %d", count.is, what, count.most))
		}
	}
	switch {
	case d.PartOf == d.Name:
		problems = append(problems, errors.New("is a part of itself"))
	case len(d.BindingConditions) == 0 && len(d.BindingFailureConditions) > 0:
		problems = append(problems, errors.New("has binding failure conditions, but no binding conditions"))
	}
	return problems
}

func validateName(name resourceapi.QualifiedName) error {
	domain, id, qualified := strings.Cut(string(name), "/")
	if !qualified {
		domain, id = "", string(name)
	}
	switch {
	case qualified && len(validation.IsDNS1123Subdomain(domain)) > 0, len(domain) > resourceapi.DeviceMaxDomainLength:
		return fmt.Errorf("attribute or capacity %q: its domain must be a DNS subdomain of at most %d characters",
			name, resourceapi.DeviceMaxDomainLength)
	case len(validation.IsCIdentifier(id)) > 0, len(id) > resourceapi.DeviceMaxIDLength:
		return fmt.Errorf("attribute or capacity %q: its name must be a C identifier of at most %d characters",
			name, resourceapi.DeviceMaxIDLength)
	}
	return nil
}

func validateAttribute(a resourceapi.DeviceAttribute) error {
	const most = resourceapi.DeviceAttributeMaxValueLength
	set := 0
	for value, i := reflect.ValueOf(a), 0; i < value.NumField(); i++ {
		if !value.Field(i).IsZero() {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("has %d values instead of one", set)
	case a.StringValue != nil && len(*a.StringValue) > most:
		return fmt.Errorf("%q has more than %d bytes", *a.StringValue, most)
	case a.VersionValue != nil && (len(*a.VersionValue) > most || !versionPattern.MatchString(*a.VersionValue)):
		return fmt.Errorf("%q is no semantic version of at most %d bytes", *a.VersionValue, most)
	}
	return nil
}

// validateGrants checks that the grants are an answer to the request that CDI and the container runtimes accept.
func validateGrants(r device.Request, grants []device.Grant) error {
	if len(grants) != len(r.Devices) {
		return fmt.Errorf("%d grants for %d devices", len(grants), len(r.Devices))
	}
	var problems []error
	for i, grant := range grants {
		if grant.Claim != r.Claim || !reflect.DeepEqual(grant.Result, r.Devices[i]) {
			problems = append(problems, fmt.Errorf("grant %d is for device %s of claim %s, asked was for %s of %s",
				i, grant.Result.Device, grant.Claim.Name, r.Devices[i].Device, r.Claim.Name))
			continue
		}
		for _, problem := range validateEdits(grant.Edits) {
			problems = append(problems, fmt.Errorf("edits of device %s: %w", grant.Result.Device, problem))
		}
		for _, problem := range validateStatus(grant) {
			problems = append(problems, fmt.Errorf("status of device %s: %w", grant.Result.Device, problem))
		}
	}
	return errors.Join(problems...)
}

// validateStatus checks what the grant says for the status of the claim.
func validateStatus(grant device.Grant) []error {
	var problems []error
	if grant.Data != nil {
		var object map[string]any
		if err := json.Unmarshal(grant.Data, &object); err != nil || object == nil {
			problems = append(problems, fmt.Errorf("data %s: must be a JSON object", grant.Data))
		}
		if n := len(grant.Data); n > resourceapi.AllocatedDeviceStatusDataMaxLength {
			problems = append(problems, fmt.Errorf("has %d bytes of data and may have %d", n,
				resourceapi.AllocatedDeviceStatusDataMaxLength))
		}
	}
	n := grant.Network
	if n == nil {
		return problems
	}
	if len(n.IPs) > resourceapi.NetworkDeviceDataMaxIPs ||
		len(n.InterfaceName) > resourceapi.NetworkDeviceDataInterfaceNameMaxLength ||
		len(n.HardwareAddress) > resourceapi.NetworkDeviceDataHardwareAddressMaxLength {
		problems = append(problems, errors.New("the network data is longer than the API server accepts"))
	}
	for i, ip := range n.IPs {
		for _, problem := range validation.IsValidInterfaceAddress(field.NewPath("ips").Index(i), ip) {
			problems = append(problems, problem)
		}
	}
	return problems
}

func validateEdits(edits *cdispecs.ContainerEdits) []error {
	if edits == nil || reflect.DeepEqual(*edits, cdispecs.ContainerEdits{}) {
		return []error{errors.New("are empty; CDI cannot resolve such a device")}
	}
	var problems []error
	variables := map[string]bool{}
	for _, variable := range edits.Env {
		name, _, _ := strings.Cut(variable, "=")
		if !variablePattern.MatchString(variable) {
			problems = append(problems,
				fmt.Errorf("variable %q: must be NAME=value with a name of A-Z, 0-9 and _", variable))
		}
		if variables[name] {
			problems = append(problems, fmt.Errorf("variable %s is there twice", name))
		}
		variables[name] = true
	}
	for _, node := range edits.DeviceNodes {
		if !path.IsAbs(node.Path) {
			problems = append(problems, fmt.Errorf("device node %q: must be an absolute path", node.Path))
		}
		if strings.Trim(node.Permissions, "rwm") != "" {
			problems = append(problems, fmt.Errorf("device node %s: permissions %q", node.Path, node.Permissions))
		}
	}
	for _, mount := range edits.Mounts {
		if !path.IsAbs(mount.HostPath) || !path.IsAbs(mount.ContainerPath) {
			problems = append(problems, fmt.Errorf("mount of %q to %q: must be absolute paths",
				mount.HostPath, mount.ContainerPath))
		}
	}
	for _, hook := range edits.Hooks {
		if !path.IsAbs(hook.Path) {
			problems = append(problems, fmt.Errorf("hook %q: must be an absolute path", hook.Path))
		}
	}
	return problems
}
