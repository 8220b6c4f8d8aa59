package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// nodeRestarted restarts the machine of the worker: processes and everything on tmpfs are gone, objects and disks stay.
// The driver's state is made to outlive it all the same, as where its directory is on a disk, and a pod is deleted
// while its node is down: nothing of what was remembered may be believed, or its device would stay taken.
func nodeRestarted() types.Feature {
	h := &holder{scene: newScene("e2e-node-restarted", 3)}
	var gone *resourceapi.ResourceClaim
	return features.New("Fault07 node restarted").Setup(h.scene.begin).
		Assess("two pods have a device", assess(func(t *testing.T) {
			h.begin(t)
			h.createPod(t, newPod("gone", "one"))
			_, gone = h.expectOnlyClaim(t, h.running(t, "gone"), mainContainer)
		})).
		Assess("the machine of their node is restarted", assess(func(t *testing.T) {
			settled(t)
			epoch := worker.mustRun(t, "cat", stateDir+"/epoch")
			worker.keepsState(t)
			if _, err := docker(t.Context(), "stop", string(worker)); err != nil {
				t.Fatal(err)
			}
			h.forget(t, "gone", gone)
			if _, err := docker(t.Context(), "start", string(worker)); err != nil {
				t.Fatal(err)
			}
			until(t, "the network of the pods is there again", connect)
			worker.mustRun(t, "test", "-e", stateWasThere)
			until(t, "the driver began a new epoch", func(ctx context.Context) error {
				now, err := worker.run(ctx, "cat", stateDir+"/epoch")
				if err == nil && (now == epoch || now == anotherBoot(epoch)) {
					err = errors.New("it is still the old one")
				}
				return err
			})
			settled(t)
		})).
		Assess("nothing is remembered of the pod that went meanwhile", assess(func(t *testing.T) {
			left := worker.mustRun(t, "sh", "-c", "grep -rls "+string(gone.UID)+" /run/dragoman /run/cdi || true")
			if left != "" {
				t.Errorf("files still speak of its claim: %s", left)
			}
		})).
		Assess("the other pod comes back with its device", assess(h.comesBack)).
		Assess("pods end and begin", assess(h.ends)).Feature()
}

// comesBack waits until the pod's container was started again.
func (h *holder) comesBack(t *testing.T) {
	start := time.Now()
	until(t, "the container was started again", func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(h.namespace).Get(ctx, "holder", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.RestartCount > 0 && status.State.Running != nil {
				return nil
			}
		}
		return fmt.Errorf("not yet: %s", h.lastEvent(ctx, "holder"))
	})
	t.Logf("it was started again %v after the driver was ready", time.Since(start).Round(time.Second))
	h.goesOn(t)
}

// forget deletes a pod of a node that is down, and waits until its claim is gone too.
func (s *scene) forget(t *testing.T, pod string, claim *resourceapi.ResourceClaim) {
	t.Helper()
	now := int64(0)
	err := client.CoreV1().Pods(s.namespace).Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil {
		t.Fatalf("delete pod %s: %v", pod, err)
	}
	until(t, "claim "+claim.Name+" is gone", func(ctx context.Context) error {
		claims, err := client.ResourceV1().ResourceClaims(s.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, c := range claims.Items {
			if c.UID == claim.UID {
				return errors.New("it is still there")
			}
		}
		return nil
	})
}

const (
	stateDir = "/run/dragoman/" + driverName
	// keptState is where the state lies while the machine is down, keeper the unit that puts it back.
	keptState = "/var/lib/dragoman-e2e-state"
	keeper    = "dragoman-e2e-state.service"
	// stateWasThere says that it did so.
	stateWasThere = "/run/dragoman-e2e-state-was-there"
)

// anotherBoot is the epoch as an earlier boot would have written it: a restarted container has the same boot ID.
func anotherBoot(epoch string) string {
	return epoch[:len(epoch)-len("00000000-0000-0000-0000-000000000000\n")] + "00000000-0000-0000-0000-000000000000\n"
}

// keepsState lets the driver's state outlive the next restart of the node: it is there again before the kubelet starts.
func (n node) keepsState(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		_, err := n.run(context.WithoutCancel(t.Context()), "sh", "-c",
			"systemctl disable "+keeper+"; rm -rf /etc/systemd/system/"+keeper+" "+keptState)
		if err != nil {
			t.Errorf("tidy up: %v", err)
		}
	})
	epoch := anotherBoot(n.mustRun(t, "cat", stateDir+"/epoch"))
	n.mustRun(t, "sh", "-c", "rm -rf "+keptState+" && cp -a "+stateDir+" "+keptState+" && printf %s '"+epoch+"' > "+
		keptState+"/epoch")
	const unit = `[Unit]
Before=kubelet.service
[Service]
Type=oneshot
ExecStart=/bin/mkdir -p /run/dragoman
ExecStart=/bin/cp -a ` + keptState + ` ` + stateDir + `
ExecStart=/bin/touch ` + stateWasThere + `
[Install]
WantedBy=multi-user.target
`
	n.mustRun(t, "sh", "-c", "printf %s '"+unit+"' > /etc/systemd/system/"+keeper+
		" && systemctl daemon-reload && systemctl enable "+keeper)
}
