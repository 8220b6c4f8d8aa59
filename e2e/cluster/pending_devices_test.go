package cluster

import (
	"context"
	"testing"

	"example.com/dragoman/pkg/view/why"
)

// pendingForDevices are the rows in which devices are chosen, and not enough can be had.
func pendingForDevices() []pending {
	return []pending{
		{
			name: "SelectorError", reason: why.SelectorError, stages: []why.Stage{why.StageError},
			story: "a selector names an attribute that a device does not have",
			mend:  edit("SelectorError", "s/product/model/"),
		},
		{
			name: "NotEnough-selector", reason: why.NotEnough, stages: []why.Stage{why.StageSelector},
			story: "no device has as much memory as the selector wants",
			mend:  edit("NotEnough-selector", "s/141Gi/80Gi/"),
		},
		{
			name: "NotEnough-attribute", reason: why.NotEnough, stages: []why.Stage{why.StageSelector},
			story: "a selector has a typo in the name of an attribute, and says what to do where it is missing",
			mend:  edit("NotEnough-attribute", "s/modell/model/"),
		},
		{
			name: "NotEnough-count", reason: why.NotEnough,
			story: "no node has as many devices as the claim wants",
			mend:  edit("NotEnough-count", "s/count: 3/count: 2/"),
		},
		{
			name: "NotEnough-inUse", reason: why.NotEnough, stages: []why.Stage{why.StageInUse},
			story: "all devices are in use",
			then:  oneMore,
			mend:  []string{"kubectl delete pod train-0"},
		},
		{
			name: "NotYetTried", reason: why.NotYetTried, state: why.Possible,
			story: "devices have become free, and the scheduler has not tried again",
			then: func(t *testing.T, u *user) {
				oneMore(t, u)
				u.must(t, "kubectl wait pod/train --for=condition=PodScheduled=False --timeout=3m")
				stopped(t, "kube-scheduler")
				u.must(t, "kubectl delete pod train-0 --grace-period=0 --force")
			},
			mend: []string{started("kube-scheduler")},
		},
		{
			name: "PoolIncomplete", reason: why.PoolIncomplete,
			story:    "a slice of a pool is missing, and the claim is for all devices",
			machines: "half-a-pool",
			mend: []string{"kubectl patch resourceslice pending.example.com-kind-worker --type=merge " +
				`-p '{"spec":{"pool":{"resourceSliceCount":1}}}'`},
		},
		{
			name: "PoolInvalid", reason: why.PoolInvalid, stages: []why.Stage{why.StagePool},
			story:    "two slices of a pool have a device of the same name",
			machines: "same-name-twice",
			mend: []string{"kubectl patch resourceslice pending.example.com-kind-worker-2 --type=json " +
				`-p '[{"op":"replace","path":"/spec/devices/0/name","value":"gpu-1"}]'`},
		},
		{
			name: "TooManyDevices", reason: why.TooManyDevices,
			story: "a claim asks for more devices than a claim can have",
			mend:  edit("TooManyDevices", "s/count: 40/count: 2/"),
		},
		{
			name: "Constraint", reason: why.Constraint,
			story: "two devices of the same NUMA node are wanted, and no NUMA node has two",
			mend:  edit("Constraint", "s/count: 2/count: 1/"),
		},
		{
			name: "Together", reason: why.Together,
			story: "two requests want the same device",
			mend:  edit("Together", `s/model == "H100"/model != "H100"/`),
		},
		{
			name: "PodUnfit", reason: why.PodUnfit,
			story: "no node fits the pod, whatever devices it has",
			before: func(t *testing.T, _ *user) {
				t.Cleanup(func() {
					ctx := context.WithoutCancel(t.Context())
					if _, err := program(ctx, "kubectl", "label", "node", string(worker), "example.com/rack-"); err != nil {
						t.Error(err)
					}
				})
			},
			mend: []string{"kubectl label node kind-worker example.com/rack=r7"},
		},
		{
			name: "OtherThanDevices", reason: why.OtherThanDevices, state: why.Possible,
			story: "the devices are there, but not the processors",
			mend:  edit("OtherThanDevices", `s/cpu: "1000"/cpu: 10m/`),
		},
	}
}

// oneMore makes a pod like train-0, which has its devices by then, and waits for more of them.
func oneMore(t *testing.T, u *user) {
	t.Helper()
	u.must(t, "kubectl wait pod/train-0 --for=condition=PodScheduled --timeout=3m")
	u.apply(t, "train.yaml")
}
