package mask

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

type object = map[string]any

func TestAnObjectKeepsItsTypes(t *testing.T) {
	given := object{
		"metadata": object{"annotations": object{"auth-token": "x", "app": "y"}},
		"spec": object{
			"automountServiceAccountToken": true,
			"resources":                    object{"limits": object{"example.com/tokens": "4"}},
			"volumes":                      []any{object{"secret": object{"defaultMode": int64(420), "secretName": "s"}}},
			"selector":                     object{"expression": `device.token == "x"`},
			"opaque": object{"parameters": object{
				"password": int64(12345678), "tokens": []any{true, "x"}, "size": int64(7), "on": true,
			}},
		},
	}
	want := object{
		"metadata": object{"annotations": object{"auth-token": Hidden, "app": "y"}},
		"spec": object{
			"automountServiceAccountToken": true,
			"resources":                    object{"limits": object{"example.com/tokens": "4"}},
			"volumes":                      []any{object{"secret": object{"defaultMode": int64(420), "secretName": Hidden}}},
			"selector":                     object{"expression": `device.token == "x"`},
			"opaque": object{"parameters": object{
				"password": Hidden, "tokens": []any{Hidden, Hidden}, "size": int64(7), "on": true,
			}},
		},
	}
	if diff := cmp.Diff(want, New(Options{}).Object(given)); diff != "" {
		t.Errorf("it becomes (-wanted +got):\n%s", diff)
	}
}

func TestWhatDevicesAreChosenByStaysAsItIs(t *testing.T) {
	pair := []any{object{"key": "x/secret", "operator": "Equal", "value": "v", "effect": "NoSchedule"}}
	term := object{"matchExpressions": []any{object{"key": "auth", "operator": "In", "values": []any{"yes"}}}}
	for name, fields := range map[string]object{
		"a device's attributes": {"spec": object{"devices": []any{object{"attributes": object{
			"firmwareSignature": object{"string": "abc"}, "dbAuth": object{"version": "1.2.3"}, "token": object{"bool": true},
			"password": object{"string": "a: b, token=c"}, "cookie": object{"int": int64(7)},
		}}}}},
		"a device's capacity": {"spec": object{"devices": []any{object{"capacity": object{
			"tokens": object{"value": "4Gi", "requestPolicy": object{"validValues": []any{"1Gi"}}},
		}}}}},
		"taints":              {"spec": object{"taints": pair}},
		"a rule's taint":      {"spec": object{"taint": pair[0]}},
		"tolerations":         {"spec": object{"tolerations": pair}},
		"labels":              {"metadata": object{"labels": object{"auth": "yes", "example.com/token": "x"}}},
		"a node selector":     {"spec": object{"nodeSelector": object{"auth": "yes"}}},
		"a selector of terms": {"spec": object{"nodeSelector": object{"nodeSelectorTerms": []any{term}}}},
		"an affinity":         {"affinity": object{"podAffinity": object{"matchLabels": object{"auth": "yes"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(fields, New(Options{}).Object(fields)); diff != "" {
				t.Errorf("it becomes (-wanted +got):\n%s", diff)
			}
		})
	}
}

func TestWhatDevicesAreChosenByHasNoSecretByItsLook(t *testing.T) {
	const token = "ghp_L3AK0me0123456789abcdef"
	for _, field := range []string{"attributes", "labels", "nodeSelector", "taint", "tolerations"} {
		given := object{field: object{"x": object{"string": token}}}
		want := object{field: object{"x": object{"string": Hidden}}}
		if diff := cmp.Diff(want, New(Options{}).Object(given)); diff != "" {
			t.Errorf("it becomes (-wanted +got):\n%s", diff)
		}
	}
}
