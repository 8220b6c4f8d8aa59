package collect_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

// watched is a watch in progress.
type watched struct {
	told chan *view.Cluster
	done chan error
	stop func()
}

func watch(t *testing.T, s *server, want collect.Want) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watched{told: make(chan *view.Cluster, 100), done: make(chan error, 1), stop: stop}
	t.Cleanup(stop)
	go func() {
		w.done <- s.collector(t).Watch(ctx, want, func(c *view.Cluster) { w.told <- c })
	}()
	return w
}

// until waits for the cluster to be told of that is as wanted.
func (w *watched) until(t *testing.T, what string, ok func(*view.Cluster) bool) *view.Cluster {
	t.Helper()
	var last *view.Cluster
	for patience := time.After(time.Minute); ; {
		select {
		case last = <-w.told:
			if ok(last) {
				return last
			}
		case err := <-w.done:
			t.Fatalf("%s: the watch has ended: %v", what, err)
		case <-patience:
			t.Fatalf("%s: that is not told; at last: %+v", what, last)
		}
	}
}

func claimsAre(wanted ...string) func(*view.Cluster) bool {
	return func(c *view.Cluster) bool { return slices.Equal(names(c.Claims), wanted) }
}

// awaitWatch waits until changes of a path will be told.
func (s *server) awaitWatch(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		watched := len(s.watchers[path]) > 0
		s.mu.Unlock()
		if watched {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nobody watches %s", path)
		}
	}
}

func TestAWatchTellsOfEachChange(t *testing.T) {
	s := newServer(t)
	s.lists[path("resourceslices")] = []runtime.Object{slice("s")}
	s.lists[path("resourceclaims")] = []runtime.Object{claim("a", "b")}
	w := watch(t, s, collect.Want{Claims: true, TaintRules: true})
	first := w.until(t, "what there is", claimsAre("a/b"))
	expect(t, "slices", []string{"s"}, names(first.Slices))
	expect(t, "version", "v1.36.1", first.Version)
	if len(first.Unseen) != 1 || !first.Unseen[0].NotServed {
		t.Errorf("unseen is %v, without the taint rules", first.Unseen)
	}
	s.awaitWatch(t, path("resourceclaims"))

	s.happens(t, path("resourceclaims"), "ADDED", claim("a", "a"))
	w.until(t, "a new claim", claimsAre("a/a", "a/b"))
	changed := claim("a", "b")
	changed.Labels = map[string]string{"is": "changed"}
	s.happens(t, path("resourceclaims"), "MODIFIED", changed)
	w.until(t, "a changed claim", func(c *view.Cluster) bool {
		return len(c.Claims) == 2 && c.Claims[1].Labels["is"] == "changed"
	})
	s.happens(t, path("resourceclaims"), "DELETED", claim("a", "a"))
	now := w.until(t, "a deleted claim", claimsAre("a/b"))
	if now.Claims[0].ManagedFields != nil {
		t.Error("a claim has its managed fields")
	}
	expect(t, "claims of what was told first", []string{"a/b"}, names(first.Claims))

	w.stop()
	if err := <-w.done; err != nil {
		t.Errorf("a watch that was ended says %v", err)
	}
}

func TestAWatchSaysWhenItDoesNotSeeChanges(t *testing.T) {
	s := newServer(t)
	s.lists[path("resourceclaims")] = []runtime.Object{claim("a", "b")}
	s.refuses["watch "+path("resourceclaims")] = forbidden("resourceclaims")
	w := watch(t, s, collect.Want{Claims: true})
	seen := w.until(t, "that watching is forbidden", func(c *view.Cluster) bool { return len(c.Unseen) == 1 })
	expect(t, "unseen", []view.Unseen{{Resource: "resourceclaims", Forbidden: true,
		Right: "watch resourceclaims.resource.k8s.io", Why: forbidden("resourceclaims").Error()}}, seen.Unseen)
	expect(t, "claims", []string{"a/b"}, names(seen.Claims))

	s.mu.Lock()
	delete(s.refuses, "watch "+path("resourceclaims"))
	s.mu.Unlock()
	w.until(t, "that it is not any more", func(c *view.Cluster) bool { return len(c.Unseen) == 0 })
}

func TestAWatchFallsBackAsALookDoes(t *testing.T) {
	s := newServer(t)
	s.refuses[path("resourceclaims")] = forbidden("resourceclaims")
	s.lists["/apis/resource.k8s.io/v1/namespaces/team/resourceclaims"] = []runtime.Object{claim("team", "mine")}
	seen := watch(t, s, collect.Want{Claims: true, Fallback: "team"}).until(t, "own claims", claimsAre("team/mine"))
	if len(seen.Unseen) != 1 || seen.Unseen[0].Only != "team" {
		t.Errorf("unseen is %v", seen.Unseen)
	}
}

func TestAWatchOfNothingIsAnError(t *testing.T) {
	s := newServer(t)
	for resource := range s.lists {
		s.refuses[resource] = forbidden(resource)
	}
	if err := <-watch(t, s, collect.Want{Claims: true}).done; err == nil {
		t.Error("it is none")
	}
}
