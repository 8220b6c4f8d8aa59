package agreement

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// classesOfDevices makes a class for each driver, and one that wants more of its devices.
//
// All look at the driver first: what other questions have must not matter.
func (g *generator) classesOfDevices() {
	var drivers []string
	for _, p := range g.pools {
		drivers = append(drivers, p.driver)
	}
	if len(drivers) == 0 {
		drivers = []string{g.name + "-0.example.com"}
	}
	for i, driver := range slices.Compact(drivers) {
		class := &resourceapi.DeviceClass{ObjectMeta: g.object(fmt.Sprintf("%s-class-%d", g.name, i))}
		class.Spec.Selectors = []resourceapi.DeviceSelector{cel(fmt.Sprintf("device.driver == %q", driver))}
		picky := class.DeepCopy()
		picky.Name += "-picky"
		picky.Spec.Selectors = append(picky.Spec.Selectors, g.selector(driver))
		if g.has.extended && g.chance(50) {
			class.Spec.ExtendedResourceName = new(fmt.Sprintf("%s.example.com/gpu-%d", g.name, i))
		}
		g.classes = append(g.classes, class, picky)
	}
}

func cel(expression string) resourceapi.DeviceSelector {
	return resourceapi.DeviceSelector{CEL: &resourceapi.CELDeviceSelector{Expression: expression}}
}

// selector is true for some of the driver's devices. A reckless one ends with an error on devices that lack what it
// reads.
func (g *generator) selector(driver string) resourceapi.DeviceSelector {
	attributes := fmt.Sprintf("device.attributes[%q]", driver)
	capacity := fmt.Sprintf("device.capacity[%q]", driver)
	if g.reckless {
		return cel(one(g,
			attributes+`.model == "A"`, attributes+`.model in ["B", "C"]`, attributes+`.fast`, attributes+`.index < 3`,
			attributes+`.driverVersion.compareTo(semver("2.0.0")) >= 0`,
			capacity+`.memory.compareTo(quantity("16Gi")) >= 0`,
			`device.attributes["example.com"].numa == 0`,
		))
	}
	return cel(one(g,
		attributes+`.?model.orValue("") == "A"`, `"model" in `+attributes, attributes+`.?modelName.orValue("") == "A"`,
		attributes+`[?"index"].orValue(0) != 1`, `has(`+attributes+`.fast) && `+attributes+`.fast`,
		attributes+`.?driverVersion.orValue(semver("0.0.1")).isGreaterThan(semver("2.0.0"))`,
		capacity+`.?memory.orValue(quantity("0")).compareTo(quantity("16Gi")) >= 0`,
		`device.attributes["example.com"].?numa.orValue(-1) == 0`,
		`!(`+attributes+`.?model.orValue("A") == "A") || `+attributes+`.?index.orValue(9) > 2`,
	))
}

// wants makes a pod and what it asks for.
func (g *generator) wants() {
	name := fmt.Sprintf("%s-pod-%d", g.name, len(g.pods))
	pod := &corev1.Pod{ObjectMeta: g.spaced(name), Spec: corev1.PodSpec{
		NodeSelector: map[string]string{questionLabel: g.name},
		Containers:   []corev1.Container{{Name: "container", Image: "registry.k8s.io/pause:3.10"}},
	}}
	switch g.IntN(8) {
	case 0:
		pod.Spec.NodeSelector[hostLabel] = one(g, g.nodes...).Name
	case 1:
		pod.Spec.NodeSelector[zoneLabel] = g.zone()
	}
	if g.chance(30) {
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/reserved", Operator: corev1.TolerationOpExists}}
	}
	if g.has.extended && g.chance(8) {
		g.extended(pod)
	} else {
		for i := range one(g, 1, 1, 1, 2, 2, 3) {
			g.claim(pod, fmt.Sprintf("claim-%d", i))
		}
	}
	g.pods = append(g.pods, pod)
}

// extended asks for devices as for an extended resource, by the name that a class gives it or by that of the class.
func (g *generator) extended(pod *corev1.Pod) {
	class := g.classes[0]
	name := resourceapi.ResourceDeviceClassPrefix + one(g, g.classes...).Name
	if class.Spec.ExtendedResourceName != nil && g.chance(50) {
		name = *class.Spec.ExtendedResourceName
	}
	amount := one(g, "1", "1", "2", "3")
	if g.onlyOne() {
		amount = "1"
	}
	list := corev1.ResourceList{corev1.ResourceName(name): quantity(amount)}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: list, Requests: list}
}

// onlyOne says that no request may ask for more than one device: 1.34 would give it the same shared device twice.
func (g *generator) onlyOne() bool { return g.has.old && g.holds(shared) }

// holds says whether there are devices of a kind.
func (g *generator) holds(k kind) bool {
	return slices.ContainsFunc(g.pools, func(p *pool) bool { return p.kind == k })
}

// claim adds a claim to the pod: one that is there, or one that a template makes.
func (g *generator) claim(pod *corev1.Pod, name string) {
	spec := g.claimSpec()
	entry := corev1.PodResourceClaim{Name: name}
	full := pod.Name + "-" + name
	earlier := g.sharable()
	if len(earlier) > 0 && g.chance(15) {
		entry.ResourceClaimName = new(one(g, earlier...))
	} else if g.chance(40) {
		template := &resourceapi.ResourceClaimTemplate{ObjectMeta: g.spaced(full)}
		template.Spec.Spec = spec
		g.templates = append(g.templates, template)
		entry.ResourceClaimTemplateName = &template.Name
	} else {
		claim := &resourceapi.ResourceClaim{ObjectMeta: g.spaced(full), Spec: spec}
		g.claims = append(g.claims, claim)
		entry.ResourceClaimName = &claim.Name
		if g.chance(12) {
			g.sharedClaim(claim)
		}
	}
	pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, entry)
	container := &pod.Spec.Containers[0]
	container.Resources.Claims = append(container.Resources.Claims, corev1.ResourceClaim{Name: name})
}

// sharable are the names of the claims that pods before this one use, and that are not theirs alone. Now and then a pod
// names one twice: the API server takes it, and the scheduler never binds it.
func (g *generator) sharable() (names []string) {
	for _, pod := range g.pods {
		for _, entry := range pod.Spec.ResourceClaims {
			if entry.ResourceClaimName != nil {
				names = append(names, *entry.ResourceClaimName)
			}
		}
	}
	return names
}

// claimSpec asks for one to three things.
func (g *generator) claimSpec() (spec resourceapi.ResourceClaimSpec) {
	var names []string
	for i := range one(g, 1, 1, 1, 1, 2, 2, 3) {
		request := resourceapi.DeviceRequest{Name: fmt.Sprintf("request-%d", i)}
		if g.chance(25) {
			g.alternatives(&request)
		} else {
			request.Exactly = g.exactly()
		}
		names = append(names, request.Name)
		spec.Devices.Requests = append(spec.Devices.Requests, request)
	}
	if g.chance(30) && (!g.has.old || !g.holds(parts)) {
		spec.Devices.Constraints = append(spec.Devices.Constraints, g.constraint(names))
	}
	return spec
}

// constraint binds all of the claim's requests together, or one of them in itself.
func (g *generator) constraint(names []string) (constraint resourceapi.DeviceConstraint) {
	attribute := new(resourceapi.FullyQualifiedName(one(g, string(numa), g.driver()+"/"+string(one(g, model, index, fast,
		version)))))
	if g.has.shares && !g.has.old && g.chance(40) {
		constraint.DistinctAttribute = attribute
	} else {
		constraint.MatchAttribute = attribute
	}
	if g.chance(40) {
		constraint.Requests = []string{one(g, names...)}
	}
	return constraint
}

// driver is one of the question's.
func (g *generator) driver() string {
	if len(g.pools) == 0 {
		return g.name + "-0.example.com"
	}
	return one(g, g.pools...).driver
}

// ask is what a request and an alternative have in common.
type ask struct {
	class       string
	selectors   []resourceapi.DeviceSelector
	all         bool
	count       int64
	tolerations []resourceapi.DeviceToleration
	capacity    *resourceapi.CapacityRequirements
}

func (g *generator) ask() (a ask) {
	class := one(g, g.classes...)
	a.class = class.Name
	if g.chance(1) {
		a.class = g.name + "-nobody-has-it"
	}
	a.count = int64(one(g, 1, 1, 1, 1, 1, 2, 2, 3))
	if g.onlyOne() {
		a.count = 1
	}
	a.all = g.chance(12)
	for range one(g, 0, 0, 0, 1, 1, 2) {
		a.selectors = append(a.selectors, g.selector(g.driverOf(class)))
	}
	if g.has.taints && g.chance(25) {
		a.tolerations = []resourceapi.DeviceToleration{one(g,
			resourceapi.DeviceToleration{Operator: resourceapi.DeviceTolerationOpExists},
			resourceapi.DeviceToleration{Key: sick, Operator: resourceapi.DeviceTolerationOpExists},
			resourceapi.DeviceToleration{Key: sick, Operator: resourceapi.DeviceTolerationOpEqual, Value: "little"},
			resourceapi.DeviceToleration{
				Key: sick, Operator: resourceapi.DeviceTolerationOpExists, Effect: resourceapi.DeviceTaintEffectNoExecute,
			},
		)}
	}
	if g.has.shares && (g.holds(shared) && g.chance(50) || !g.has.old && g.chance(5)) {
		a.capacity = &resourceapi.CapacityRequirements{Requests: map[resourceapi.QualifiedName]resource.Quantity{
			memory: quantity(one(g, "1Gi", "3Gi", "8Gi", "12Gi", "30Gi")),
		}}
	}
	return a
}

// driverOf is the driver that a class of ours looks for.
func (g *generator) driverOf(class *resourceapi.DeviceClass) string {
	var driver string
	if _, err := fmt.Sscanf(class.Spec.Selectors[0].CEL.Expression, "device.driver == %q", &driver); err != nil {
		panic(err) // the generator's own expression
	}
	return driver
}

func (g *generator) exactly() *resourceapi.ExactDeviceRequest {
	a := g.ask()
	request := &resourceapi.ExactDeviceRequest{
		DeviceClassName: a.class, Selectors: a.selectors, Tolerations: a.tolerations, Capacity: a.capacity,
		AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: a.count,
	}
	if a.all {
		request.AllocationMode, request.Count = resourceapi.DeviceAllocationModeAll, 0
	}
	if g.chance(8) {
		request.AdminAccess = new(true)
	}
	return request
}

func (g *generator) alternatives(request *resourceapi.DeviceRequest) {
	for i := range g.between(2, 3) {
		a := g.ask()
		sub := resourceapi.DeviceSubRequest{
			Name: fmt.Sprintf("choice-%d", i), DeviceClassName: a.class, Selectors: a.selectors,
			Tolerations: a.tolerations, Capacity: a.capacity,
			AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: a.count,
		}
		if a.all && !g.has.old {
			sub.AllocationMode, sub.Count = resourceapi.DeviceAllocationModeAll, 0
		}
		request.FirstAvailable = append(request.FirstAvailable, sub)
	}
}

// taintRule taints devices of a driver from outside.
func (g *generator) taintRule() {
	rule := &resourceapi.DeviceTaintRule{ObjectMeta: g.object(g.name + "-rule")}
	rule.Spec.Taint = resourceapi.DeviceTaint{
		Key: sick, Value: "very", Effect: one(g, resourceapi.DeviceTaintEffectNoSchedule,
			resourceapi.DeviceTaintEffectNoExecute),
	}
	rule.Spec.DeviceSelector = &resourceapi.DeviceTaintSelector{Driver: new(g.driver())}
	if len(g.pools) > 0 && g.chance(60) {
		p := one(g, g.pools...)
		rule.Spec.DeviceSelector.Driver, rule.Spec.DeviceSelector.Pool = &p.driver, &p.name
		if g.chance(50) {
			rule.Spec.DeviceSelector.Device = new(one(g, p.devices...).Name)
		}
	}
	// As with taints of the devices themselves.
	if !g.has.old || !g.holds(parts) {
		g.rules = append(g.rules, rule)
	}
}

// reserved makes a claim look used by a pod.
func reserved(claim *resourceapi.ResourceClaim, pod string) {
	claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{
		Resource: "pods", Name: pod, UID: types.UID(pod),
	})
}
