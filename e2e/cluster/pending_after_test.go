package cluster

import (
	"context"
	"fmt"
	"slices"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view/why"
)

// onNewest is the cluster where the rows of this file are shown: with every kind of device.
const onNewest = "1.37"

// pendingAfterScheduler are the rows in which the scheduler has found devices, or is not asked.
func pendingAfterScheduler() []pending {
	rows := slices.Concat(pendingForClaim(), pendingWithoutDriver(), pendingForRealDevices(), pendingOnNode())
	for i := range rows {
		rows[i].on = onNewest
		if rows[i].machines == "showcase" {
			rows[i].then = givenBack(rows[i].then)
		}
	}
	return rows
}

// givenBack has the pods of a row end in peace, before anything else is removed: the next row has the same devices,
// which the kubelet gives back when containers have ended.
func givenBack(then func(*testing.T, *user)) func(*testing.T, *user) {
	return func(t *testing.T, u *user) {
		t.Helper()
		if then != nil {
			then(t, u)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
			defer cancel()
			if _, err := program(ctx, "kubectl", "delete", "pods", "--all", "-n", u.namespace, "--grace-period=1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// pendingForClaim are those in which a claim is not to be had, whatever devices there are.
func pendingForClaim() []pending {
	return []pending{
		{
			name: "ClaimUnused", reason: why.ClaimUnused, state: why.Possible, about: "claim/shared", event: "none",
			story: "a claim waits, and no pod wants it",
			then: func(t *testing.T, u *user) { // and somebody tidied up
				u.apply(t, "train-shared.yaml")
				u.must(t, "kubectl delete pod train --force --grace-period=0")
			},
			mend: []string{"kubectl apply -f train-shared.yaml"},
		},
		{
			name: "ClaimElsewhere", reason: why.ClaimElsewhere,
			story: "a claim has its devices on one node, and a further pod must run on another",
			then:  furtherPod("train-elsewhere"),
			mend:  edit("train-elsewhere", "/nodeSelector/,+1d"),
		},
		{
			name: "ClaimBeingDeleted", reason: why.ClaimBeingDeleted, event: "none",
			story: "a claim was deleted while a pod has it, and a further pod wants it",
			then: func(t *testing.T, u *user) {
				u.must(t, "kubectl wait pod/train-0 --for=condition=PodScheduled --timeout=3m")
				u.must(t, "kubectl delete resourceclaim shared --wait=false")
				u.apply(t, "train-shared.yaml")
			},
			mend: []string{
				"kubectl delete pod train-0 --force --grace-period=0",
				"sed '/^---/,$d' ClaimBeingDeleted.yaml | kubectl create -f -",
			},
		},
		{
			name: "ClaimFull", reason: why.ClaimFull,
			story: "as many use a claim as can, and a further pod wants it",
			then: func(t *testing.T, u *user) {
				u.must(t, "kubectl wait pod/train-0 --for=condition=PodScheduled --timeout=3m")
				u.fill(t, "shared")
				u.apply(t, "train-shared.yaml")
			},
		},
		{
			name: "ClaimOfAnotherPod", reason: why.ClaimOfAnotherPod,
			story: "the status of the pod names a claim that was not made for it",
			then: func(t *testing.T, u *user) {
				u.must(t, `kubectl wait pod/train --for=jsonpath='{.status.resourceClaimStatuses}' --timeout=3m`)
				u.must(t, "kubectl patch pod train --subresource=status --type=merge "+
					`-p '{"status":{"resourceClaimStatuses":[{"name":"gpu","resourceClaimName":"somebody-elses"}]}}'`)
			},
		},
		{
			name: "ClaimNamedTwice", reason: why.ClaimNamedTwice,
			story: "a pod names a claim in two entries",
			mend:  edit("ClaimNamedTwice", "/name: other/,+1d"),
		},
		{
			name: "ClaimTooOld", reason: why.ClaimTooOld,
			story: "a claim got its devices from a scheduler before 1.36, and a further pod wants it",
			then: func(t *testing.T, u *user) {
				u.must(t, `kubectl patch resourceclaim shared --subresource=status --type=merge -p '{"status":{"allocation":{`+
					`"devices":{"results":[{"request":"gpu","driver":"pending.example.com","pool":"kind-worker","device":"gpu-0"}]},`+
					`"nodeSelector":{"nodeSelectorTerms":[{"matchFields":[`+
					`{"key":"metadata.name","operator":"In","values":["kind-worker"]}]}]}}}}'`)
				u.apply(t, "train-shared.yaml")
			},
			mend: []string{"kubectl replace --force -f ClaimTooOld.yaml"},
		},
		{
			name: "BoundByHand", reason: why.BoundByHand, event: "FailedPrepareDynamicResources",
			story: "the pod names its node itself, so that no scheduler has chosen devices",
			mend:  edit("BoundByHand", "/nodeName/d"),
		},
		{
			name: "NoDevicesAskedFor", reason: why.NoDevicesAskedFor,
			story: "the pod waits for processors, and wants no devices",
			mend:  edit("NoDevicesAskedFor", `s/cpu: "1000"/cpu: 10m/`),
		},
	}
}

// furtherPod makes one more pod when the first one has the claim.
func furtherPod(file string) func(*testing.T, *user) {
	return func(t *testing.T, u *user) {
		t.Helper()
		u.must(t, "kubectl wait pod/train-0 --for=condition=PodScheduled --timeout=3m")
		u.apply(t, file+".yaml")
	}
}

// fill lets as many use a claim as the API takes, until the end of the row. They are no pods: those would have to be
// there.
func (u *user) fill(t *testing.T, name string) {
	t.Helper()
	claims := client.ResourceV1().ResourceClaims(u.namespace)
	t.Cleanup(func() {
		none := []byte(`{"status":{"reservedFor":null}}`)
		ctx := context.WithoutCancel(t.Context())
		if _, err := claims.Patch(ctx, name, apitypes.MergePatchType, none, metav1.PatchOptions{}, "status"); err != nil {
			t.Error(err)
		}
	})
	until(t, "the claim has as many users as can be", func(ctx context.Context) error {
		claim, err := claims.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := len(claim.Status.ReservedFor); i < resourceapi.ResourceClaimReservedForMaxSize; i++ {
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{
				APIGroup: "example.com", Resource: "jobs", Name: fmt.Sprintf("job-%d", i),
				UID: apitypes.UID(fmt.Sprintf("uid-%d", i)),
			})
		}
		_, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		return err
	})
}

// pendingWithoutDriver are those in which devices are chosen, and their driver does not do its part.
func pendingWithoutDriver() []pending {
	return []pending{
		{
			name: "DriverNotRegistered", reason: why.DriverNotRegistered, event: "FailedPrepareDynamicResources",
			story: "the driver published devices, and does not run on the node now",
		},
		{
			name: "BindingConditions", reason: why.BindingConditions, event: "BindingConditionsPending",
			story:    "a device is to be attached to the node before the pod is bound, and is not yet",
			machines: "attached-later",
			mend: []string{`kubectl patch resourceclaim gpu --subresource=status --type=merge -p '{"status":{"devices":[` +
				`{"driver":"pending.example.com","pool":"kind-worker","device":"gpu-0","conditions":[` +
				`{"type":"pending.example.com/attached","status":"True","reason":"Attached","message":"",` +
				`"lastTransitionTime":"2026-01-02T15:04:05Z"}]}]}}'`},
		},
	}
}

// pendingForRealDevices are those in which the real driver's devices are not to be had.
func pendingForRealDevices() []pending {
	return []pending{
		{
			name: "NotEnough-taint", reason: why.NotEnough, stages: []why.Stage{why.StageTaint}, machines: "showcase",
			story: "the device that is wanted is ill, and tainted",
			before: func(t *testing.T, _ *user) {
				worker.mockReset(t)
				fallsIll(t)
				taintedBecome(t, unhealthyKey, resourceapi.DeviceTaintEffectNoSchedule, sick)
			},
			mend: []string{tell("set", sick, "health=healthy")},
		},
		{
			name: "NotEnough-counters", reason: why.NotEnough, stages: []why.Stage{why.StageCounters}, machines: "showcase",
			story: "two whole GPUs are wanted as parts, and of one a small part is taken",
			then:  oneMore,
			mend:  []string{"kubectl delete pod train-0"},
		},
		{
			name: "NotEnough-capacity", reason: why.NotEnough, stages: []why.Stage{why.StageCapacity}, machines: "showcase",
			story: "the memory of each shared device is taken but for a little",
			then: func(t *testing.T, u *user) {
				u.must(t, "kubectl wait pod/train-1 --for=condition=PodScheduled --timeout=3m")
				oneMore(t, u)
			},
			mend: []string{"kubectl delete pod train-0"},
		},
	}
}

// pendingOnNode are those in which a pod is on its node, with devices of the real driver.
func pendingOnNode() []pending {
	ready := func(t *testing.T, u *user) {
		t.Helper()
		u.must(t, "kubectl wait pod/train --for=condition=Ready --timeout=3m")
	}
	return []pending{
		{
			name: "PrepareFailing", reason: why.PrepareFailing, event: "FailedPrepareDynamicResources", machines: "showcase",
			story: "the driver cannot make the device ready",
			before: func(t *testing.T, _ *user) {
				worker.mockReset(t)
				worker.mock(t, "fail", "prepare", "message=the bus is busy")
			},
			mend:   []string{tell("fail", "prepare", "times=0"), "kubectl replace --force -f PrepareFailing.yaml"},
			mended: "Ready",
		},
		{
			name: "PodTerminating", reason: why.PodTerminating, event: "Killing", machines: "showcase",
			story: "the pod is deleted, and what runs in it does not heed that",
			then: func(t *testing.T, u *user) {
				ready(t, u)
				u.must(t, "kubectl delete pod train --wait=false")
			},
		},
		{
			name: "Starting", state: why.Starting, event: "ErrImageNeverPull", machines: "showcase",
			story: "the pod has its device, and its image cannot be had",
			then: func(t *testing.T, u *user) {
				const reason = "{.status.containerStatuses[0].state.waiting.reason}"
				u.must(t, "kubectl wait pod/train --for=jsonpath='"+reason+"'=ErrImageNeverPull --timeout=3m")
			},
			mend: []string{"kubectl set image pod/train main=busybox:1.36"}, mended: "Ready",
		},
		{
			name: "Running", state: why.Running, event: "none", machines: "showcase",
			story: "all is well", then: ready,
		},
		{
			name: "Finished", state: why.Finished, event: "none", machines: "showcase",
			story: "the pod has done its work",
		},
	}
}

// tell is the line with which somebody tells the made-up hardware of the worker what happens to it.
func tell(words ...string) string {
	line := "kubectl exec -n dragoman $(kubectl get pod -n dragoman -o name -l app.kubernetes.io/name=dragoman " +
		"--field-selector spec.nodeName=" + screenWorker + ") -- /dragoman mock"
	for _, word := range words {
		line += " " + word
	}
	return line
}
