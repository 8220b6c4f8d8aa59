package devicetest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
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
	names, sets := map[string]bool{}, map[string]bool{}
	for _, set := range snapshot.SharedCounters {
		if sets[set.Name] {
			problems = append(problems, fmt.Errorf("two counter sets have the name %s", set.Name))
		}
		sets[set.Name] = true
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
	return errors.Join(problems...)
}

func validateDevice(d device.Device, sets map[string]bool) []error {
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
	for name := range d.Capacity {
		if err := validateName(name); err != nil {
			problems = append(problems, err)
		}
	}
	const most = resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice
	if n := len(d.Attributes) + len(d.Capacity); n > most {
		problems = append(problems, fmt.Errorf("has %d attributes and capacities and may have %d", n, most))
	}
	for _, consumes := range d.ConsumesCounters {
		if !sets[consumes.CounterSet] {
			problems = append(problems,
				fmt.Errorf("consumes counters of the set %q, which is not there", consumes.CounterSet))
		}
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
	}
	return errors.Join(problems...)
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
