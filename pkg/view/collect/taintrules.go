package collect

import (
	"context"
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"example.com/dragoman/pkg/view"
)

// rules are the taint rules, in the first version of them that the server has. They are the same in all of these but
// for what keepRule says.
type rules struct{ versions []ruleKind }

type ruleKind = kind[*unstructured.UnstructuredList, unstructured.Unstructured, resourceapi.DeviceTaintRule]

// taintRules knows the versions of Kubernetes 1.37, 1.36 and 1.34.
func (c *Collector) taintRules() rules {
	var r rules
	for _, version := range []string{"v1", "v1beta2", "v1alpha3"} {
		resource := schema.GroupVersionResource{
			Group: resourceapi.GroupName, Version: version, Resource: "devicetaintrules",
		}
		r.versions = append(r.versions, ruleKind{
			resource: resource,
			in:       func(string) lists[*unstructured.UnstructuredList] { return c.dynamic.Resource(resource) },
			items:    func(l *unstructured.UnstructuredList) []unstructured.Unstructured { return l.Items },
			keep:     keepRule,
			into:     func(c *view.Cluster) *[]*resourceapi.DeviceTaintRule { return &c.TaintRules },
		})
	}
	return r
}

func (r rules) look(ctx context.Context, s *sight) {
	r.first(ctx, s, func(k ruleKind) error {
		kept, odd, err := k.all(ctx, "")
		if err == nil {
			k.store(s, kept, odd)
		}
		return err
	})
}

func (r rules) follow(ctx context.Context, f *following) {
	r.first(ctx, &f.sight, func(k ruleKind) error {
		err := k.probe(ctx, "")
		if err == nil {
			k.watch(ctx, f, "")
		}
		return err
	})
}

// first tries one version after the other until one is served.
func (r rules) first(ctx context.Context, s *sight, try func(ruleKind) error) {
	var tried []string
	for _, k := range r.versions {
		err := try(k)
		if err == nil {
			return
		}
		u := s.collector.unseen(ctx, k.resource, "list", "", err)
		if !u.NotServed {
			s.missed(u, err)
			return
		}
		tried = append(tried, k.resource.Version)
	}
	err := fmt.Errorf("this API server does not serve devicetaintrules of %s in %s",
		resourceapi.GroupName, strings.Join(tried, ", "))
	s.missed(view.Unseen{Resource: "devicetaintrules", Why: err.Error(), NotServed: true}, err)
}

// keepRule leaves out rules that select devices in ways of which Kubernetes 1.34 alone knows, and says so: without
// these they would seem to select more devices than they do.
func keepRule(rule *unstructured.Unstructured) (*resourceapi.DeviceTaintRule, error) {
	converted, err := view.Convert(rule)
	if err != nil {
		return nil, err
	}
	kept, is := converted.(*resourceapi.DeviceTaintRule)
	if !is {
		return nil, fmt.Errorf("read DeviceTaintRule %q: it is a %s", rule.GetName(), rule.GroupVersionKind())
	}
	kept.TypeMeta = metav1.TypeMeta{} // which version was read is of no interest to anybody
	plainMeta(&kept.ObjectMeta)
	return kept, nil
}
