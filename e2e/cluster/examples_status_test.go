package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	resourceapply "k8s.io/client-go/applyconfigurations/resource/v1"
	resourceclient "k8s.io/client-go/kubernetes/typed/resource/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// deviceStatus is about what the driver says of a device in the status of its claim.
func deviceStatus() types.Feature {
	const folder, foreign = "17-status-of-a-device", "example.com/Checked"
	s := newScene("dragoman-17", 1)
	claims := func() resourceclient.ResourceClaimInterface { return client.ResourceV1().ResourceClaims(s.namespace) }
	var nic result
	return features.New(folder).Setup(s.appliedWithClasses(folder, "nic.example.com")).Setup(allWellAfterwards).
		Assess("it has the addresses, data and conditions", assess(func(t *testing.T) {
			_, claim := s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			nic = forRequest(t, claim, "nic")
			s.statusBecomes(t, nic, "ready, with addresses", func(status resourceapi.AllocatedDeviceStatus) error {
				network := status.NetworkData
				if network == nil || network.InterfaceName == "" || len(network.IPs) == 0 || network.HardwareAddress == "" {
					return fmt.Errorf("it has the network data %s", asYAML(network))
				}
				var data map[string]any
				if status.Data == nil {
					return errors.New("it has no data")
				}
				if err := json.Unmarshal(status.Data.Raw, &data); err != nil || len(data) == 0 {
					return fmt.Errorf("it has the data %s: %w", status.Data.Raw, err)
				}
				if err := conditionIs(status, "Healthy", metav1.ConditionTrue, ""); err != nil {
					return err
				}
				return conditionIs(status, "Ready", metav1.ConditionTrue, "")
			})
		})).
		Assess("what others write there stays, and it follows the health of the device", assess(func(t *testing.T) {
			_, err := claims().ApplyStatus(t.Context(), resourceapply.ResourceClaim("nic0", s.namespace).WithStatus(
				resourceapply.ResourceClaimStatus().WithDevices(resourceapply.AllocatedDeviceStatus().
					WithDriver(nic.Driver).WithPool(nic.Pool).WithDevice(nic.Device).
					WithConditions(metaapply.Condition().WithType(foreign).WithStatus(metav1.ConditionTrue).
						WithReason("Seen").WithMessage("").WithLastTransitionTime(metav1.Now())))),
				metav1.ApplyOptions{FieldManager: "somebody-else"})
			if err != nil {
				t.Fatal(err)
			}
			worker.mock(t, "set", nic.Device, "health=unhealthy", "reason=cable cut")
			s.statusBecomes(t, nic, "unhealthy, and why", func(status resourceapi.AllocatedDeviceStatus) error {
				if err := conditionIs(status, foreign, metav1.ConditionTrue, ""); err != nil {
					t.Fatal(err)
				}
				return conditionIs(status, "Healthy", metav1.ConditionFalse, "cable cut")
			})
			worker.mock(t, "reset", nic.Device)
			s.statusBecomes(t, nic, "healthy again", func(status resourceapi.AllocatedDeviceStatus) error {
				if err := conditionIs(status, foreign, metav1.ConditionTrue, ""); err != nil {
					t.Fatal(err)
				}
				return conditionIs(status, "Healthy", metav1.ConditionTrue, "")
			})
		})).
		Assess("when the pod has gone, the claim is there and says nothing of devices", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			until(t, "the status has no device", func(ctx context.Context) error {
				claim, err := claims().Get(ctx, "nic0", metav1.GetOptions{})
				if err == nil && (len(claim.Status.Devices) > 0 || claim.Status.Allocation != nil) {
					err = fmt.Errorf("it is %s", asYAML(claim.Status))
				}
				return err
			})
		})).Feature()
}

// statusBecomes waits until the status of the claim nic0 says of a device what it should.
func (s *scene) statusBecomes(
	t *testing.T, of result, what string, check func(resourceapi.AllocatedDeviceStatus) error,
) {
	t.Helper()
	until(t, "the status of the claim says "+what, func(ctx context.Context) error {
		claim, err := client.ResourceV1().ResourceClaims(s.namespace).Get(ctx, "nic0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, status := range claim.Status.Devices {
			if status.Driver == of.Driver && status.Pool == of.Pool && status.Device == of.Device {
				return check(status)
			}
		}
		return fmt.Errorf("it says %s", asYAML(claim.Status.Devices))
	})
}

// conditionIs checks a condition, and that its message has the words.
func conditionIs(
	status resourceapi.AllocatedDeviceStatus, name string, expected metav1.ConditionStatus, words string,
) error {
	condition := apimeta.FindStatusCondition(status.Conditions, name)
	if condition == nil || condition.Status != expected || !strings.Contains(condition.Message, words) {
		return fmt.Errorf("the conditions are %s", asYAML(status.Conditions))
	}
	return nil
}
