package binding

import (
	"testing"
	"testing/synctest"

	resourceapi "k8s.io/api/resource/v1"
)

// A worker has read a claim, and only then begins: what it read may be over by then, and the event that says so may
// have come already. What is begun after it would never be cancelled.
func TestNothingIsBegunForWhatWentAwayWhileAWorkerHadIt(t *testing.T) {
	for what, test := range map[string]struct {
		do    func(t *testing.T, c *Controller, claim *resourceapi.ResourceClaim)
		begun int
	}{
		"nothing went away": {func(*testing.T, *Controller, *resourceapi.ResourceClaim) {}, 1},
		"the claim": {func(t *testing.T, c *Controller, claim *resourceapi.ResourceClaim) {
			if err := c.informer.GetStore().Delete(claim); err != nil {
				t.Fatal(err)
			}
			c.gone(claim)
		}, 0},
		"the allocation": {func(t *testing.T, c *Controller, claim *resourceapi.ResourceClaim) {
			keep(t, c, aClaim(claim.Name))
			c.see(aClaim(claim.Name))
		}, 0},
		"the device": {func(t *testing.T, c *Controller, claim *resourceapi.ResourceClaim) {
			keep(t, c, aClaim(claim.Name, result("near")))
			c.see(aClaim(claim.Name, result("near")))
		}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric()
				c := New(Options{DriverName: driver, Fabric: f, Client: newServer(t).Clientset})
				defer c.queue.ShutDown()
				c.runs = t.Context()
				claim := aClaim("claim", result("far"))
				keep(t, c, claim)
				held := c.cached(keyOfClaim(claim))
				test.do(t, c, claim)
				if err := c.reconcile(t.Context(), held); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if len(f.asked) != test.begun || len(c.all) != test.begun {
					t.Errorf("the fabric was asked for %d devices, and %d claims are remembered; expected %d",
						len(f.asked), len(c.all), test.begun)
				}
			})
		})
	}
}

// A claim that was tried again and again leaves nothing behind when it goes: one of the same name would begin with its
// long pause, and its first error would not be logged.
func TestThePausesOfAClaimThatIsGoneAreForgotten(t *testing.T) {
	for what, do := range map[string]func(c *Controller, claim *resourceapi.ResourceClaim){
		"when it goes": func(c *Controller, claim *resourceapi.ResourceClaim) { c.gone(claim) },
		"when a worker was about to try again": func(c *Controller, claim *resourceapi.ResourceClaim) {
			n, _ := c.queue.Get()
			c.workOn(c.runs, n)
			c.queue.Done(n)
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(Options{DriverName: driver, Fabric: newFabric(), Client: newServer(t).Clientset})
				defer c.queue.ShutDown()
				c.runs = t.Context()
				claim := aClaim("claim", result("far"))
				c.queue.AddRateLimited(keyOfClaim(claim))
				do(c, claim)
				if n := c.queue.NumRequeues(keyOfClaim(claim)); n != 0 {
					t.Errorf("%d attempts are remembered", n)
				}
			})
		})
	}
}

// keep puts a claim into what the informer has read.
func keep(t *testing.T, c *Controller, claim *resourceapi.ResourceClaim) {
	t.Helper()
	if err := c.informer.GetStore().Update(claim); err != nil {
		t.Fatal(err)
	}
}

func keyOfClaim(claim *resourceapi.ResourceClaim) name { return name{claim.Namespace, claim.Name} }
