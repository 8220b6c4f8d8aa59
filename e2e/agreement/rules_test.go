package agreement

import (
	"context"
	"encoding/json"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	resourcealpha "k8s.io/api/resource/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// putRule makes a taint rule in the version that the release has: they look the same.
func (l *lab) putRule(ctx context.Context, rule *resourceapi.DeviceTaintRule) error {
	if !l.has.old {
		_, err := l.client.ResourceV1().DeviceTaintRules().Create(ctx, rule, metav1.CreateOptions{})
		return err
	}
	text, err := json.Marshal(rule)
	if err != nil {
		return fmt.Errorf("write a taint rule: %w", err)
	}
	alpha := new(resourcealpha.DeviceTaintRule)
	if err := json.Unmarshal(text, alpha); err != nil {
		return fmt.Errorf("read a taint rule: %w", err)
	}
	_, err = l.client.ResourceV1alpha3().DeviceTaintRules().Create(ctx, alpha, metav1.CreateOptions{})
	return err
}
