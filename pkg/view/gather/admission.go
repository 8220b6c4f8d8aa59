package gather

import (
	"context"
	"slices"

	admissionapi "k8s.io/api/admissionregistration/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

type (
	validatingWebhooks = admissionapi.ValidatingWebhookConfiguration
	mutatingWebhooks   = admissionapi.MutatingWebhookConfiguration
	policy             = admissionapi.ValidatingAdmissionPolicy
	policyBinding      = admissionapi.ValidatingAdmissionPolicyBinding
)

// admission adds what may refuse or change objects of DRA when they are made: webhooks, and policies with their
// bindings.
func (g *gathering) admission(ctx context.Context) error {
	policies := map[string]bool{}
	for _, add := range []func() error{
		func() error {
			return addAdmission(ctx, g, "ValidatingWebhookConfiguration", func(c *validatingWebhooks) bool {
				c.Webhooks = slices.DeleteFunc(c.Webhooks, func(w admissionapi.ValidatingWebhook) bool {
					return !webhookOfDRA(w.Rules)
				})
				for i := range c.Webhooks {
					c.Webhooks[i].ClientConfig.CABundle = nil // long, and of no use elsewhere
				}
				return len(c.Webhooks) > 0
			})
		},
		func() error {
			return addAdmission(ctx, g, "MutatingWebhookConfiguration", func(c *mutatingWebhooks) bool {
				c.Webhooks = slices.DeleteFunc(c.Webhooks, func(w admissionapi.MutatingWebhook) bool {
					return !webhookOfDRA(w.Rules)
				})
				for i := range c.Webhooks {
					c.Webhooks[i].ClientConfig.CABundle = nil
				}
				return len(c.Webhooks) > 0
			})
		},
		func() error {
			return addAdmission(ctx, g, "ValidatingAdmissionPolicy", func(p *policy) bool {
				policies[p.Name] = p.Spec.MatchConstraints != nil && slices.ContainsFunc(p.Spec.MatchConstraints.ResourceRules,
					func(r admissionapi.NamedRuleWithOperations) bool { return ofDRAGroup(r.APIGroups) })
				return policies[p.Name]
			})
		},
		func() error {
			return addAdmission(ctx, g, "ValidatingAdmissionPolicyBinding", func(b *policyBinding) bool {
				return policies[b.Spec.PolicyName]
			})
		},
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

func webhookOfDRA(rules []admissionapi.RuleWithOperations) bool {
	return slices.ContainsFunc(rules, func(r admissionapi.RuleWithOperations) bool { return ofDRAGroup(r.APIGroups) })
}

func ofDRAGroup(groups []string) bool {
	return slices.Contains(groups, resourceapi.GroupName) || slices.Contains(groups, "*")
}

// addAdmission adds the objects of one kind that are to be kept.
func addAdmission[T any, O interface {
	*T
	runtime.Object
	metav1.ObjectMetaAccessor
}](ctx context.Context, g *gathering, kind string, keep func(*T) bool) error {
	gv := admissionapi.SchemeGroupVersion
	resource, _ := meta.UnsafeGuessKindToResource(gv.WithKind(kind))
	plural := resource.Resource
	found, err := listed(ctx, g, "/apis/"+gv.String()+"/"+plural, nil, keep)
	if err != nil {
		g.missing("%s: %v", plural, err)
	}
	objects := make([]O, len(found))
	for i, o := range found {
		objects[i] = o
	}
	return addObjects(g, "admission/"+plural, gv.WithKind(kind), objects, func(o O) O {
		if m, is := o.GetObjectMeta().(*metav1.ObjectMeta); is {
			g.trimmer.meta(m)
		}
		return o
	})
}
