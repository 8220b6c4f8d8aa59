package publish

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The controller begins with a watch, waits for a second and writes then.
func TestFirstSlicesDoNotWaitForTheController(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	watches, watched := 0, 0
	s.admit = func(*resourceapi.ResourceSlice) *apierrors.StatusError {
		watches += s.requests["watch"]
		return nil
	}
	r := start(t, s.client(t), tainted(pool("a", "b c", "d", "e", "f", "g")))
	r.eventually("the slices are there", func() bool { return len(s.stored()) == 6 })
	first := s.stored()
	if s.with(func() { watched = watches }); watched != 0 {
		t.Error("the controller had begun to watch when they were written")
	}
	r.acknowledges()
	if s.writes() != 6 {
		t.Errorf("%d writes of 6 slices", s.writes())
	}

	s.wipe()
	r.eventually("the controller has written them again", func() bool { return len(s.stored()) == 6 })
	ignored := cmpopts.IgnoreFields(metav1.ObjectMeta{}, "Name", "UID", "ResourceVersion")
	if diff := cmp.Diff(s.stored(), first, ignored); diff != "" {
		t.Errorf("they differ from those of the controller (-controller +first):\n%s", diff)
	}
}

func TestFirstSlicesThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	refused := 0
	s.admit = func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
		if refused++; refused == 2 {
			return apierrors.NewBadRequest("once")
		}
		return nil
	}
	r := start(t, s.client(t), pool("a", "b", "c", "d", "e", "f"))
	r.acknowledges()
	told := r.saw("failed create invalid") + r.saw("failed create other")
	if n := len(s.stored()); n != 6 || told != 1 {
		t.Errorf("%d slices; %q", n, r.history())
	}
}

func TestFirstSlicesAreNotWrittenAgainByASuccessor(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cacheIsOld = true
	r := start(t, s.client(t), pool("a", "b"))
	r.acknowledges()
	r.stop()
	r = start(t, s.client(t), pool("a", "b"))
	r.acknowledges()
	if s.writes() != 2 {
		t.Errorf("%d writes of 2 slices", s.writes())
	}
}

// A large machine would be in memory twice: once as it is published, and once as the controller sees it.
func TestWhatIsPublishedIsInMemoryOnce(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	specs := pool("a b", "c")
	specs[1].Devices[0].Taints = []resourceapi.DeviceTaint{{Key: "gpu.example.com/unhealthy", Effect: "NoSchedule"}}
	s.admit = func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
		for i := range slice.Spec.Devices {
			for j := range slice.Spec.Devices[i].Taints {
				slice.Spec.Devices[i].Taints[j].TimeAdded = &metav1.Time{Time: metav1.Now().Rfc3339Copy().Time}
			}
		}
		return nil
	}
	r := start(t, s.client(t), specs)
	r.acknowledges()
	held := r.witness.slices()
	if !areOne(held[0].Spec.Devices, specs[0].Devices) {
		t.Error("devices that are the same are there twice")
	}
	if areOne(held[1].Spec.Devices, specs[1].Devices) || held[1].Spec.Devices[0].Taints[0].TimeAdded == nil {
		t.Error("the time of a taint is lost")
	}
}

func areOne(a, b []resourceapi.Device) bool { return &a[0] == &b[0] }
