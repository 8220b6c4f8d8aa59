package gather

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/mask"
)

// How long a value is at least that is looked for in logs: shorter ones are there for other reasons, too.
const (
	shortestSecret = 6
	shortestValue  = 8
)

// known are values that are masked where objects have them, and that logs and messages may repeat: secrets, and unless
// all is wanted what configurations have for drivers. Plain words are not, nor is what the bundle shows elsewhere.
type known struct {
	full   bool
	values map[string]bool
}

// newMasker returns what masks all that goes into a bundle.
func newMasker(c *view.Cluster, full bool) *mask.Masker {
	names := shown(c)
	return mask.New(mask.Options{
		Known: repeated(c, names, full), Addresses: !full, IsName: func(text string) bool { return names[text] },
	})
}

// repeated returns the known values.
func repeated(c *view.Cluster, shown map[string]bool, full bool) []string {
	k := known{full: full, values: map[string]bool{}}
	each := func(config *resourceapi.DeviceConfiguration) {
		if config.Opaque != nil {
			k.add(config.Opaque.Parameters.Raw)
		}
	}
	for _, class := range c.Classes {
		for i := range class.Spec.Config {
			each(&class.Spec.Config[i].DeviceConfiguration)
		}
	}
	for _, claim := range c.Claims {
		for i := range claim.Spec.Devices.Config {
			each(&claim.Spec.Devices.Config[i].DeviceConfiguration)
		}
	}
	for _, template := range c.Templates {
		for i := range template.Spec.Spec.Devices.Config {
			each(&template.Spec.Spec.Devices.Config[i].DeviceConfiguration)
		}
	}
	for _, p := range c.Pods {
		for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			k.variables(container.Env)
		}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(k.values)), func(value string) bool { return shown[value] })
}

func (k known) add(raw []byte) {
	var value any
	if json.Unmarshal(raw, &value) == nil {
		k.below(value, false)
	}
}

func (k known) below(value any, secret bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			if name != "apiVersion" && name != "kind" {
				k.below(field, secret || mask.NamesASecret(name))
			}
		}
	case []any:
		for _, item := range v {
			k.below(item, secret)
		}
	case string:
		if secret && isLong(v) || !k.full && len(v) >= shortestValue && !plain(v) {
			k.values[v] = true
		}
	}
}

func (k known) variables(environment []corev1.EnvVar) {
	for _, e := range environment {
		if isLong(e.Value) && mask.NamesASecret(e.Name) {
			k.values[e.Value] = true
		}
	}
}

func isLong(secret string) bool { return len(secret) >= shortestSecret }

// plain says whether a value is a word, as choices are.
func plain(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) })
}

// shown are names that are in the bundle anyway, and that logs could not be read without.
func shown(c *view.Cluster) map[string]bool {
	names := map[string]bool{}
	for _, s := range c.Slices {
		names[s.Spec.Driver], names[s.Spec.Pool.Name] = true, true
		for i := range s.Spec.Devices {
			names[s.Spec.Devices[i].Name] = true
			for _, attribute := range s.Spec.Devices[i].Attributes {
				if attribute.StringValue != nil {
					names[*attribute.StringValue] = true
				}
			}
		}
	}
	for _, n := range c.Nodes {
		names[n.Name] = true
	}
	for _, n := range c.Namespaces {
		names[n.Name] = true
	}
	for _, p := range c.Pods {
		names[p.Namespace], names[p.Name], names[p.Spec.NodeName] = true, true, true
	}
	for _, o := range c.Claims {
		names[o.Namespace], names[o.Name] = true, true
	}
	for _, o := range c.Classes {
		names[o.Name] = true
	}
	return names
}
