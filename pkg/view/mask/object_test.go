package mask

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

type object = map[string]any

func TestAnObjectKeepsItsTypes(t *testing.T) {
	given := object{
		"metadata": object{"labels": object{"auth-token": "x", "app": "y"}},
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
		"metadata": object{"labels": object{"auth-token": Hidden, "app": "y"}},
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
