package validation

import (
	"fmt"
	"strings"
)

// corpus are good objects, and the same with one thing wrong or at its limit.
func corpus() []sample {
	var all []sample
	for _, kind := range []string{
		"ResourceClaim", "ResourceClaimTemplate", "DeviceClass", "ResourceSlice", "ResourceSlice/counters",
		"ResourceSlice/parts", "DeviceTaintRule",
	} {
		all = append(all, sample{kind: kind, name: "good"})
	}
	for _, of := range []struct {
		kind  string
		edits map[string][]edit
	}{
		{"ResourceClaim", requests()},
		{"ResourceClaim", references()},
		{"ResourceClaim", expressions()},
		{"ResourceClaim", metadata()},
		{"ResourceClaimTemplate", templates()},
		{"DeviceClass", classes()},
		{"ResourceSlice", deviceSlices()},
		{"ResourceSlice", attributes()},
		{"ResourceSlice", capacities()},
		{"ResourceSlice/counters", counters()},
		{"ResourceSlice/parts", parts()},
		{"DeviceTaintRule", taintRules()},
	} {
		for _, name := range sorted(of.edits) {
			all = append(all, sample{kind: of.kind, name: name, edits: of.edits[name]})
		}
	}
	for _, name := range sorted(requests()) {
		all = append(all, sample{
			kind: "ResourceClaim", name: name + ", v1beta2", version: "v1beta2", edits: requests()[name],
		})
	}
	return all
}

func one(path, value string) []edit { return []edit{{path, value}} }

// many is a list of n items, each made of its number.
func many(n int, item string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = strings.ReplaceAll(item, "#", fmt.Sprint(i))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// object is an object with n members.
func members(n int, item string) string {
	all := many(n, item)
	return "{" + all[1:len(all)-1] + "}"
}

func x(n int) string { return strings.Repeat("x", n) }

const (
	request = "spec devices requests 0"
	exact   = request + " exactly"
	choice  = "spec devices requests 1 firstAvailable"
)

func requests() map[string][]edit {
	return map[string][]edit{
		"no requests": {
			{"spec devices requests", "[]"},
			{"spec devices constraints", ""},
			{"spec devices config", ""},
		},
		"no spec":                             one("spec", ""),
		"a request without a name":            one(request+" name", ""),
		"upper case in the name of a request": one(request+" name", "GPU"),
		"a long name of a request":            one(request+" name", x(64)),
		"the name of a request twice": one("spec devices requests -",
			"{name: gpu, exactly: {deviceClassName: a}}"),
		"neither exactly nor firstAvailable": one("spec devices requests -", "{name: x}"),
		"both exactly and firstAvailable":    one(request+" firstAvailable", "[{name: a, deviceClassName: b}]"),
		"an empty exactly":                   one(exact, "{}"),
		"no class":                           one(exact+" deviceClassName", ""),
		"a class that is no name":            one(exact+" deviceClassName", "GPU class"),
		"a long class":                       one(exact+" deviceClassName", x(254)),
		"32 requests":                        one("spec devices requests", withBoth(30)),
		"33 requests":                        one("spec devices requests", withBoth(31)),
		"9 alternatives":                     one(choice, many(9, "{name: a#, deviceClassName: b}")),
		"8 alternatives": {
			{choice, many(8, "{name: a#, deviceClassName: b}")},
			{"spec devices constraints", ""},
		},
		"the name of an alternative twice":     one(choice+" -", "{name: slow, deviceClassName: b}"),
		"an alternative without a class":       one(choice+" 1 deviceClassName", ""),
		"an alternative with a bad class":      one(choice+" 1 deviceClassName", "A_b"),
		"an alternative without a name":        one(choice+" 1 name", ""),
		"an alternative with admin access":     one(choice+" 1 adminAccess", "true"),
		"admin access":                         one(exact+" adminAccess", "true"),
		"no admin access":                      one(exact+" adminAccess", "false"),
		"an unknown mode":                      one(exact+" allocationMode", "Some"),
		"all, with a count":                    one(exact+" allocationMode", "All"),
		"all, without a count":                 {{exact + " allocationMode", "All"}, {exact + " count", ""}},
		"a count of 0":                         one(exact+" count", "0"),
		"a negative count":                     one(exact+" count", "-1"),
		"a count that is text":                 one(exact+" count", `"2"`),
		"a count with a fraction":              one(exact+" count", "1.5"),
		"a huge count":                         one(exact+" count", "9223372036854775807"),
		"an alternative with a negative count": one(choice+" 1 count", "-1"),
		"an unknown field":                     one(exact+" classname", "x"),
		"a field of another place":             one(request+" count", "1"),
		"a toleration without an operator":     one(exact+" tolerations 0 operator", ""),
		"a toleration with another operator":   one(exact+" tolerations 0 operator", "In"),
		"exists with a value":                  one(exact+" tolerations 0 value", "x"),
		"a toleration of everything":           one(exact+" tolerations", "[{operator: Exists}]"),
		"equal without a value":                one(exact+" tolerations 1 value", ""),
		"equal with a bad value":               one(exact+" tolerations 1 value", `"a b"`),
		"a toleration with a bad key":          one(exact+" tolerations 0 key", `"a b"`),
		"a toleration with another effect":     one(exact+" tolerations 0 effect", "Never"),
		"a toleration for seconds":             one(exact+" tolerations 0 tolerationSeconds", "3"),
		"17 tolerations":                       one(exact+" tolerations", many(17, "{key: a#, operator: Exists}")),
		"a capacity that is none":              one(exact+" capacity requests memory", "lots"),
		"a capacity with a domain":             one(exact+" capacity requests a.example.com/b", "1"),
		"a capacity with a bad name":           one(exact+" capacity requests a-b", "1"),
	}
}

// withBoth is a list of requests that has those which the rest of the claim refers to.
func withBoth(more int) string {
	return "[{name: gpu, exactly: {deviceClassName: a}}, " +
		"{name: net, firstAvailable: [{name: fast, deviceClassName: a}]}, " +
		many(more, "{name: r#, exactly: {deviceClassName: a}}")[1:]
}

func references() map[string][]edit {
	const constraint, config = "spec devices constraints 0", "spec devices config 0"
	return map[string][]edit{
		"a constraint for an unknown request":     one(constraint+" requests 0", "cpu"),
		"a constraint for an unknown alternative": one(constraint+" requests 1", "net/none"),
		"a constraint for an alternative of none": one(constraint+" requests 1", "gpu/fast"),
		"a constraint for three parts":            one(constraint+" requests 1", "net/fast/x"),
		"a constraint with a request twice":       one(constraint+" requests -", "gpu"),
		"a constraint with an empty request":      one(constraint+" requests 0", `""`),
		"a constraint for all":                    one(constraint+" requests", "[]"),
		"a constraint without an attribute":       one(constraint+" matchAttribute", ""),
		"a constraint with both attributes":       one(constraint+" distinctAttribute", "a.example.com/b"),
		"a distinct attribute": {
			{constraint + " matchAttribute", ""},
			{constraint + " distinctAttribute", "a.example.com/b"},
		},
		"a distinct attribute without a domain": {
			{constraint + " matchAttribute", ""},
			{constraint + " distinctAttribute", "b"},
		},
		"an attribute without a domain":       one(constraint+" matchAttribute", "model"),
		"an attribute with an empty domain":   one(constraint+" matchAttribute", "/model"),
		"an attribute with an empty name":     one(constraint+" matchAttribute", "a.example.com/"),
		"an attribute with three parts":       one(constraint+" matchAttribute", "a.example.com/b/c"),
		"an attribute that is no identifier":  one(constraint+" matchAttribute", "a.example.com/b-c"),
		"an attribute with a long identifier": one(constraint+" matchAttribute", "a.example.com/"+x(33)),
		"an attribute with a long domain":     one(constraint+" matchAttribute", x(64)+"/b"),
		"an attribute with upper case domain": one(constraint+" matchAttribute", "A.example.com/b"),
		"an empty attribute":                  one(constraint+" matchAttribute", `""`),
		"32 constraints": one("spec devices constraints",
			many(32, "{matchAttribute: a.example.com/b#}")),
		"33 constraints": one("spec devices constraints",
			many(33, "{matchAttribute: a.example.com/b#}")),
		"a configuration for an unknown request":    one(config+" requests 0", "cpu"),
		"a configuration for an alternative":        one(config+" requests 0", "net/slow"),
		"a configuration with a request twice":      one(config+" requests -", "net"),
		"a configuration for all":                   one(config+" requests", ""),
		"a configuration of nothing":                one(config+" opaque", ""),
		"a configuration without a driver":          one(config+" opaque driver", ""),
		"a configuration with a bad driver":         one(config+" opaque driver", "a_b"),
		"a configuration with a long driver":        one(config+" opaque driver", x(64)),
		"a configuration with an upper case driver": one(config+" opaque driver", "D.example.com"),
		"a configuration without parameters":        one(config+" opaque parameters", ""),
		"parameters that are null":                  one(config+" opaque parameters", "null"),
		"parameters that are text":                  one(config+" opaque parameters", "abc"),
		"parameters that are a list":                one(config+" opaque parameters", "[1]"),
		"parameters that are empty":                 one(config+" opaque parameters", "{}"),
		"parameters of 10 KiB":                      one(config+" opaque parameters", "{a: "+x(10*1024-8)+"}"),
		"parameters above 10 KiB":                   one(config+" opaque parameters", "{a: "+x(10*1024-7)+"}"),
		"32 configurations": one("spec devices config",
			many(32, "{opaque: {driver: a, parameters: {}}}")),
		"33 configurations": one("spec devices config",
			many(33, "{opaque: {driver: a, parameters: {}}}")),
	}
}

func expressions() map[string][]edit {
	const selectors = exact + " selectors"
	cel := func(expression string) []edit {
		return one(selectors+" 0 cel expression", "'"+strings.ReplaceAll(expression, "'", "''")+"'")
	}
	derived := func(name, expression string) []edit {
		return one(exact+" derivedAttributes", fmt.Sprintf("[{name: %s, expression: %q}]", name, expression))
	}
	return map[string][]edit{
		"no expression":                  one(selectors+" 0 cel", ""),
		"an empty expression":            cel(""),
		"an expression with bad syntax":  cel(`device.driver == `),
		"an unknown variable":            cel(`dev.driver == "a"`),
		"an unknown field of the device": cel(`device.attribute["a"].b == "c"`),
		"a number instead of a bool":     cel(`1 + 1`),
		"text instead of a bool":         cel(`device.driver`),
		"an unknown function":            cel(`device.driver.begins("a")`),
		"types that do not compare":      cel(`device.driver == 1`),
		"an attribute, not compared":     cel(`device.attributes["a"].b`),
		"a quantity":                     cel(`device.capacity["a"].memory.compareTo(quantity("1Gi")) >= 0`),
		"a version":                      cel(`device.attributes["a"].v.isGreaterThan(semver("1.2.3"))`),
		"an optional field":              cel(`device.attributes["a"].?b.orValue("x") == "x"`),
		"a macro":                        cel(`["a", "b"].exists(x, device.driver == x)`),
		"cel.bind":                       cel(`cel.bind(a, device.attributes["d"], a.x == "1" || a.y == "2")`),
		"several allocations":            cel(`device.allowMultipleAllocations == true`),
		"a list attribute":               cel(`device.attributes["a"].b.includes("c")`),
		"a long expression":              cel(`device.driver == "` + x(10*1024) + `"`),
		"an expression at its length":    cel(`device.driver == "` + x(10*1024-len(`device.driver == ""`)) + `"`),
		"a costly expression": cel(strings.ReplaceAll(`#a, #b, #c, #d, #e, #f, a+b+c+d+e+f > 0))))))`,
			"#", "[1,2,3,4,5,6,7,8,9,10].all(")),
		"32 selectors":                         one(selectors, many(32, `{cel: {expression: "true"}}`)),
		"33 selectors":                         one(selectors, many(33, `{cel: {expression: "true"}}`)),
		"33 selectors of an alternative":       one(choice+" 1 selectors", many(33, `{cel: {expression: "true"}}`)),
		"a bad expression in an alternative":   one(choice+" 1 selectors 0 cel expression", "device.x"),
		"a derived attribute in no constraint": derived("d.example.com/x", "device.driver"),
		"a derived attribute":                  derived("resource.kubernetes.io/pcieRoot", "device.driver"),
		"a derived attribute of a bad type":    derived("resource.kubernetes.io/pcieRoot", "device.attributes"),
		"a derived attribute without a domain": derived("x", "device.driver"),
		"a derived attribute without a name":   derived(`""`, "device.driver"),
		"a derived attribute of nothing":       derived("resource.kubernetes.io/pcieRoot", ""),
		"a derived attribute twice": one(exact+" derivedAttributes", many(2,
			`{name: resource.kubernetes.io/pcieRoot, expression: device.driver}`)),
	}
}

func metadata() map[string][]edit {
	return map[string][]edit{
		"no name":                    one("metadata name", ""),
		"a generated name":           {{"metadata name", ""}, {"metadata generateName", "c-"}},
		"a bad generated name":       {{"metadata name", ""}, {"metadata generateName", "C_"}},
		"a long generated name":      {{"metadata name", ""}, {"metadata generateName", strings.Repeat("x", 200)}},
		"an upper case name":         one("metadata name", "C"),
		"a long name":                one("metadata name", x(254)),
		"a name with dots":           one("metadata name", "a.b"),
		"a bad label":                one("metadata labels a", `"b c"`),
		"a bad key of a label":       one("metadata labels a/b/c", "d"),
		"a bad annotation":           one("metadata annotations", `{"a b": c}`),
		"an unknown field":           one("metadata title", "c"),
		"a finalizer":                one("metadata finalizers", "[example.com/a]"),
		"a bad finalizer":            one("metadata finalizers", "[a]"),
		"an owner without a uid":     one("metadata ownerReferences", "[{apiVersion: v1, kind: Pod, name: a}]"),
		"an owner":                   one("metadata ownerReferences", "[{apiVersion: v1, kind: Pod, name: a, uid: b}]"),
		"a status, which is ignored": one("status", "{reservedFor: [{name: a}]}"),
	}
}

func templates() map[string][]edit {
	return map[string][]edit{
		"a name for the claims":      one("spec metadata name", "x"),
		"a namespace for the claims": one("spec metadata namespace", "x"),
		"a finalizer for the claims": one("spec metadata finalizers", "[example.com/a]"),
		"a bad label for the claims": one("spec metadata labels a", `"b c"`),
		"annotations for the claims": one("spec metadata annotations", "{a: b}"),
		"a bad annotation":           one("spec metadata annotations", `{"a b": c}`),
		"no claim":                   one("spec spec", ""),
		"a bad class":                one("spec spec devices requests 0 exactly deviceClassName", "A"),
		"an unknown request":         one("spec spec devices config 0 requests 0", "x"),
		"admin access":               one("spec spec devices requests 0 exactly adminAccess", "true"),
		"a bad expression":           one("spec spec devices requests 0 exactly selectors 0 cel expression", "x"),
		"a claim's spec":             one("spec devices", "{}"),
	}
}

func classes() map[string][]edit {
	name := func(name string) []edit { return one("spec extendedResourceName", name) }
	return map[string][]edit{
		"an upper case name":                    one("metadata name", "Gpus"),
		"a namespace, which is ignored":         one("metadata namespace", "labelled"),
		"no selector":                           one("spec selectors", ""),
		"33 selectors":                          one("spec selectors", many(33, `{cel: {expression: "true"}}`)),
		"a bad expression":                      one("spec selectors 0 cel expression", "device"),
		"no cel":                                one("spec selectors 0 cel", ""),
		"requests in a configuration":           one("spec config 0 requests", "[a]"),
		"a configuration of nothing":            one("spec config 0", "{}"),
		"a configuration with a bad driver":     one("spec config 0 opaque driver", "-"),
		"33 configurations":                     one("spec config", many(33, "{opaque: {driver: a, parameters: {}}}")),
		"an extended resource without domain":   name("gpu"),
		"an extended resource of Kubernetes":    name("kubernetes.io/gpu"),
		"an extended resource below it":         name("x.kubernetes.io/gpu"),
		"an extended resource for quota":        name("requests.example.com/gpu"),
		"an extended resource with bad letters": name("example.com/g p"),
		"an extended resource with two slashes": name("example.com/a/b"),
		"a long extended resource":              name("example.com/" + x(64)),
		"an empty extended resource":            name(`""`),
		"a long domain":                         name(x(250) + "/a"),
		"suitable nodes, which are gone":        one("spec suitableNodes", "{}"),
	}
}

func deviceSlices() map[string][]edit {
	const d, taint = "spec devices 0", "spec devices 0 taints 0"
	return map[string][]edit{
		"no driver":                     one("spec driver", ""),
		"a bad driver":                  one("spec driver", "a_b"),
		"an upper case driver":          one("spec driver", "D.example.com"),
		"a long driver":                 one("spec driver", x(64)),
		"no pool":                       one("spec pool", ""),
		"no name of the pool":           one("spec pool name", ""),
		"a bad pool":                    one("spec pool name", "A"),
		"a pool with slashes":           one("spec pool name", "a/b/c"),
		"a pool that ends with a slash": one("spec pool name", "a/"),
		"a long pool":                   one("spec pool name", x(254)),
		"no slices in the pool":         one("spec pool resourceSliceCount", "0"),
		"a negative generation":         one("spec pool generation", "-1"),
		"no node":                       one("spec nodeName", ""),
		"an empty node":                 one("spec nodeName", `""`),
		"a bad node":                    one("spec nodeName", "A b"),
		"a node and all nodes":          one("spec allNodes", "true"),
		"not all nodes":                 one("spec allNodes", "false"),
		"a selector with two terms":     {{"spec nodeName", ""}, {"spec nodeSelector", "{nodeSelectorTerms: [{}, {}]}"}},
		"a selector without terms":      {{"spec nodeName", ""}, {"spec nodeSelector", "{nodeSelectorTerms: []}"}},
		"a selector":                    {{"spec nodeName", ""}, {"spec nodeSelector", "{nodeSelectorTerms: [{}]}"}},
		"no devices":                    one("spec devices", "[]"),
		"a device without a name":       one(d+" name", ""),
		"a device with a bad name":      one(d+" name", "GPU_0"),
		"a device twice":                one(d+" name", "gpu-1"),
		"128 devices":                   one("spec devices", many(128, "{name: d#}")),
		"129 devices":                   one("spec devices", many(129, "{name: d#}")),
		"64 devices with taints": one("spec devices",
			many(64, "{name: d#, taints: [{key: a, effect: NoSchedule}]}")),
		"65 devices with taints": one("spec devices",
			many(65, "{name: d#, taints: [{key: a, effect: NoSchedule}]}")),
		"65 devices with lists":         one("spec devices", many(65, "{name: d#, attributes: {a: {int: 1}}}")),
		"a taint without an effect":     one(taint+" effect", ""),
		"a taint with another effect":   one(taint+" effect", "Never"),
		"a taint without effect":        one(taint+" effect", "None"),
		"a taint without a key":         one(taint+" key", ""),
		"a taint with a bad key":        one(taint+" key", "a b"),
		"a taint with a bad value":      one(taint+" value", "a b"),
		"4 taints":                      one(d+" taints", many(4, "{key: a#, effect: NoSchedule}")),
		"16 taints":                     one(d+" taints", many(16, "{key: a#, effect: NoSchedule}")),
		"17 taints":                     one(d+" taints", many(17, "{key: a#, effect: NoSchedule}")),
		"5 binding conditions":          one("spec devices 1 bindingConditions", many(5, "a#")),
		"a binding condition twice":     one("spec devices 1 bindingConditions", "[a, a]"),
		"a bad binding condition":       one("spec devices 1 bindingConditions", `["a b"]`),
		"a condition that is a failure": one("spec devices 1 bindingConditions", "[d.example.com/failed]"),
		"no failure conditions":         one("spec devices 1 bindingFailureConditions", ""),
		"no binding conditions":         one("spec devices 1 bindingConditions", ""),
		"a node of a device":            one(d+" nodeName", "node-a"),
		"skipping to prepare":           one("spec skipNodeOperations", "[NodePrepareResources]"),
		"skipping both":                 one("spec skipNodeOperations", "[NodePrepareResources, NodeUnprepareResources]"),
		"skipping something else":       one("spec skipNodeOperations", "[Dance]"),
		"skipping all twice":            one("spec skipNodeOperations", `["*", "*"]`),
		"partition types of nothing":    one("spec partitionTypeAttribute", "d.example.com/model"),
		"memory of the node":            one(d+" nodeAllocatableResources", "{memory: {overhead: {perPod: 1Gi}}}"),
		"something of the node":         one(d+" nodeAllocatableResources", "{gpus: {overhead: {perPod: 1Gi}}}"),
		"nothing of the memory":         one(d+" nodeAllocatableResources", "{memory: {}}"),
		"negative memory of the node":   one(d+" nodeAllocatableResources", `{memory: {overhead: {perPod: "-1"}}}`),
		"memory by an unknown capacity": one(d+" nodeAllocatableResources",
			`{cpu: {mapping: {capacityKey: x, capacityMultiplier: "1"}}}`),
		"memory by a capacity": one(d+" nodeAllocatableResources",
			`{memory: {mapping: {capacityKey: memory, capacityMultiplier: "1"}}}`),
		"a capacity without a multiplier": one(d+" nodeAllocatableResources", `{memory: {mapping: {capacityKey: memory}}}`),
		"a mapping of nothing":            one(d+" nodeAllocatableResources", `{memory: {mapping: {}}}`),
	}
}

func attributes() map[string][]edit {
	const a = "spec devices 0 attributes"
	return map[string][]edit{
		"an attribute with two values":       one(a+" index", "{int: 0, bool: true}"),
		"an attribute without a value":       one(a+" index", "{}"),
		"an attribute with a bad name":       one(a+" a-b", "{int: 1}"),
		"an attribute with a long name":      one(a+" "+x(33), "{int: 1}"),
		"an attribute with a bad domain":     one(a+" A_b/c", "{int: 1}"),
		"an attribute with an empty domain":  one(a+" /c", "{int: 1}"),
		"an attribute with an empty name":    one(a+" a.b/", "{int: 1}"),
		"an attribute with three parts":      one(a+" a/b/c", "{int: 1}"),
		"a text of 64 bytes":                 one(a+" model", "{string: "+x(64)+"}"),
		"a text of 65 bytes":                 one(a+" model", "{string: "+x(65)+"}"),
		"a version of two parts":             one(a+" driverVersion", `{version: "1.2"}`),
		"a version with a v":                 one(a+" driverVersion", "{version: v1.2.3}"),
		"a version with leading zeros":       one(a+" driverVersion", "{version: 1.02.3}"),
		"a version with everything":          one(a+" driverVersion", "{version: 1.2.3-a.1.x-y+b.01}"),
		"a long version":                     one(a+" driverVersion", "{version: 1.2.3-"+x(60)+"}"),
		"32 attributes":                      one(a, members(31, "a#: {int: 1}")),
		"33 attributes":                      one(a, members(32, "a#: {int: 1}")),
		"a list of texts":                    one(a+" model", "{strings: [a, b]}"),
		"a list of long texts":               one(a+" model", "{strings: ["+x(65)+"]}"),
		"a list of versions":                 one(a+" model", "{versions: [1.2.3, x]}"),
		"an empty list":                      one(a+" model", "{ints: []}"),
		"a list and a value":                 one(a+" model", "{ints: [1], string: a}"),
		"too many values in lists":           one(a+" model", "{ints: "+many(60, "#")+"}"),
		"a value that is a number, not text": one(a+" model", "{string: 5}"),
		"a value that is not there in 1.34":  one(a+" model", "{bools: [true]}"),
		"a capacity with a bad name":         one("spec devices 0 capacity a-b", `{value: "1"}`),
		"a capacity without a value":         one("spec devices 0 capacity memory", "{}"),
		"a capacity that is none":            one("spec devices 0 capacity memory", "{value: many}"),
		"a policy of a device for one":       one("spec devices 0 capacity memory requestPolicy", "{default: 1Gi}"),
	}
}

func capacities() map[string][]edit {
	const r = "spec devices 1 capacity memory requestPolicy"
	const v = "spec devices 1 capacity cores requestPolicy"
	ranged := func(text string) []edit { return one(r, "{default: 2Gi, validRange: {"+text+"}}") }
	return map[string][]edit{
		"a range without a minimum":                ranged("max: 4Gi"),
		"a range without a maximum":                ranged("min: 1Gi"),
		"a minimum above the capacity":             ranged("min: 81Gi"),
		"a minimum above the maximum":              ranged("min: 2Gi, max: 1Gi"),
		"a maximum above the capacity":             ranged("min: 1Gi, max: 81Gi"),
		"a default below the minimum":              ranged("min: 3Gi"),
		"a default above the maximum":              ranged("min: 1Gi, max: 1Gi"),
		"a default between steps":                  ranged(`min: "0", step: 3Gi`),
		"a maximum between steps":                  ranged(`min: "0", step: 2Gi, max: 5Gi`),
		"a step above the capacity":                ranged("min: 2Gi, step: 80Gi"),
		"a fraction as a step":                     one(r, "{default: 1500m, validRange: {min: 500m, step: 500m}}"),
		"a default of a fraction, between steps":   one(r, `{default: 1500m, validRange: {min: "1", step: "1"}}`),
		"a fraction that is too small":             one(r, "{default: 1u, validRange: {min: 1u, step: 1u}}"),
		"a range without a default":                one(r+" default", ""),
		"values without a default":                 one(v+" default", ""),
		"a default that is not a value":            one(v+" default", `"3"`),
		"values that fall":                         one(v+" validValues", `["2", "1"]`),
		"a value twice":                            one(v+" validValues", `["1", "1"]`),
		"a value above the capacity":               one(v+" validValues", `["1", "9"]`),
		"fractions that are one whole number":      one(v+" validValues", `[100m, 200m, "1"]`),
		"10 values":                                one(v, `{default: 100, validValues: `+many(8, "#")+`}`),
		"11 values":                                one(v, `{default: "0", validValues: `+many(11, "#")+`}`),
		"values and a range":                       one(v+" validRange", `{min: "1"}`),
		"a default alone":                          one(v, `{default: "1"}`),
		"a default above the capacity, alone":      one(v, `{default: "10"}`),
		"no policy":                                one(v, ""),
		"policies, but not for several":            one("spec devices 1 allowMultipleAllocations", ""),
		"a negative minimum with steps":            one(r, `{default: "1", validRange: {min: "-1", step: "1"}}`),
		"a step of nothing, which 1.34 divides by": one("spec devices 1 capacity memory value", "80Gi"),
	}
}

func counters() map[string][]edit {
	const sets = "spec sharedCounters"
	return map[string][]edit{
		"a set without a name":          one(sets+" 0 name", ""),
		"a set with a bad name":         one(sets+" 0 name", "A"),
		"a set without counters":        one(sets+" 0 counters", "{}"),
		"a set twice":                   one(sets+" -", "{name: gpu-0, counters: {a: {value: 1}}}"),
		"8 sets":                        one(sets, many(8, "{name: s#, counters: {a: {value: 1}}}")),
		"9 sets":                        one(sets, many(9, "{name: s#, counters: {a: {value: 1}}}")),
		"32 counters":                   one(sets+" 0 counters", members(32, "c#: {value: 1}")),
		"33 counters":                   one(sets+" 0 counters", members(33, "c#: {value: 1}")),
		"a counter with a bad name":     one(sets+" 0 counters A", "{value: 1}"),
		"a counter without a value":     one(sets+" 0 counters memory", "{}"),
		"devices beside":                one("spec devices", "[{name: a}]"),
		"no counters and no devices":    one(sets, ""),
		"partition types of no devices": one("spec partitionTypeAttribute", "d.example.com/a"),
	}
}

func parts() map[string][]edit {
	const consumes = "spec devices 0 consumesCounters"
	const terms = "spec devices 1 nodeSelector nodeSelectorTerms"
	return map[string][]edit{
		"a device without a node":           one("spec devices 0 nodeName", ""),
		"a device with an empty node":       one("spec devices 0 nodeName", `""`),
		"a device with two kinds of nodes":  one("spec devices 0 allNodes", "true"),
		"a device with not all nodes":       one("spec devices 2 allNodes", "false"),
		"no nodes for each device":          {{"spec perDeviceNodeSelection", ""}, {"spec allNodes", "true"}},
		"nodes for each device is false":    one("spec perDeviceNodeSelection", "false"),
		"a selector without terms":          one(terms, "[]"),
		"a selector with two terms":         one(terms+" -", "{}"),
		"in without values":                 one(terms+" 0 matchExpressions 0 values", "[]"),
		"exists with values":                one(terms+" 0 matchExpressions 1 values", "[a]"),
		"greater than two":                  one(terms+" 0 matchExpressions 2 values", `["1", "2"]`),
		"an unknown operator":               one(terms+" 0 matchExpressions 0 operator", "Near"),
		"a bad label":                       one(terms+" 0 matchExpressions 0 key", "a b"),
		"a bad value":                       one(terms+" 0 matchExpressions 0 values 0", "a b"),
		"an unknown field of nodes":         one(terms+" 0 matchFields 0 key", "metadata.uid"),
		"two names of nodes":                one(terms+" 0 matchFields 0 values", "[a, b]"),
		"a bad name of a node":              one(terms+" 0 matchFields 0 values", "[A]"),
		"exists of a field":                 one(terms+" 0 matchFields 0 operator", "Exists"),
		"no counter set":                    one(consumes+" 0 counterSet", ""),
		"a bad counter set":                 one(consumes+" 0 counterSet", "A"),
		"no counters":                       one(consumes+" 0 counters", "{}"),
		"a counter with a bad name":         one(consumes+" 0 counters A", "{value: 1}"),
		"a counter set twice":               one(consumes+" -", "{counterSet: gpu-0, counters: {a: {value: 1}}}"),
		"2 counter sets":                    one(consumes+" -", "{counterSet: gpu-1, counters: {a: {value: 1}}}"),
		"3 counter sets":                    one(consumes, many(3, "{counterSet: s#, counters: {a: {value: 1}}}")),
		"33 counters":                       one(consumes+" 0 counters", members(33, "c#: {value: 1}")),
		"2 compatibility groups":            one(consumes+" 0 compatibilityGroups", "[a, b]"),
		"3 compatibility groups":            one(consumes+" 0 compatibilityGroups", "[a, b, c]"),
		"a bad compatibility group":         one(consumes+" 0 compatibilityGroups", "[A]"),
		"a compatibility group twice":       one(consumes+" 0 compatibilityGroups", "[a, a]"),
		"partition types that are not said": one("spec partitionTypeAttribute", "d.example.com/model"),
		"partition types": {
			{"spec partitionTypeAttribute", "d.example.com/model"}, {"spec devices 0 attributes", "{model: {string: a}}"},
		},
		"partition types that are numbers": {
			{"spec partitionTypeAttribute", "d.example.com/model"}, {"spec devices 0 attributes", "{model: {int: 1}}"},
		},
		"a partition type without a domain": {
			{"spec partitionTypeAttribute", "model"}, {"spec devices 0 attributes", "{model: {string: a}}"},
		},
		"65 parts": one("spec devices",
			many(65, "{name: d#, allNodes: true, consumesCounters: [{counterSet: a, counters: {a: {value: 1}}}]}")),
	}
}

func taintRules() map[string][]edit {
	return map[string][]edit{
		"no selector":             one("spec deviceSelector", ""),
		"an empty selector":       one("spec deviceSelector", "{}"),
		"a bad driver":            one("spec deviceSelector driver", "a_b"),
		"an empty driver":         one("spec deviceSelector driver", `""`),
		"a bad pool":              one("spec deviceSelector pool", "A"),
		"a bad device":            one("spec deviceSelector device", "A"),
		"no taint":                one("spec taint", ""),
		"no effect":               one("spec taint effect", ""),
		"the effect None":         one("spec taint effect", "None"),
		"another effect":          one("spec taint effect", "Never"),
		"no key":                  one("spec taint key", ""),
		"a bad value":             one("spec taint value", "a b"),
		"a class, which was once": one("spec deviceSelector deviceClassName", "a"),
	}
}
