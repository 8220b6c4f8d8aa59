package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

// book remembers one claim.
type book struct {
	memory
	remembered prepare.Remembered
}

func (b *book) Remembered() ([]prepare.Remembered, error) {
	return []prepare.Remembered{b.remembered}, nil
}

// holding is a claim with gpu-0 and a share of gpu-1.
func holding(state prepare.State) prepare.Remembered {
	return prepare.Remembered{
		Claim: device.Claim{Namespace: "team-a", Name: "train", UID: "1"}, State: state,
		Devices: []prepare.Device{
			{Request: "a", Pool: "node-a", Device: "gpu-0"},
			{Request: "b", Pool: "node-a", Device: "gpu-1", ShareID: new(types.UID("s"))},
		},
	}
}

// allocated is that claim in the API server, with devices such as "gpu-1 s".
func allocated(uid types.UID, devices ...string) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "train", UID: uid}}
	for _, words := range devices {
		if c.Status.Allocation == nil {
			c.Status.Allocation = &resourceapi.AllocationResult{}
		}
		name, share, shared := strings.Cut(words, " ")
		driver, name, isOther := strings.Cut(name, ":")
		if !isOther {
			driver, name = "gpu.example.com", driver
		}
		r := resourceapi.DeviceRequestAllocationResult{Driver: driver, Pool: "node-a", Device: name}
		if shared {
			r.ShareID = new(types.UID(share))
		}
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, r)
	}
	return c
}

// TestAClaimThatExistsKeepsWhatItHas whatever is odd about it, and is told of once.
func TestAClaimThatExistsKeepsWhatItHas(t *testing.T) {
	all := allocated("1", "gpu-1 s", "nic.example.com:nic-0", "gpu-0")
	for name, tc := range map[string]struct {
		has  prepare.State
		is   *resourceapi.ResourceClaim
		want Unsettled
		says string
	}{
		"as it should be":              {prepare.Prepared, all, "", ""},
		"prepared halfway":             {prepare.Preparing, all, HalfPrepared, "in the middle of a call"},
		"taken back halfway":           {prepare.Unpreparing, all, HalfUnprepared, "in the middle of a call"},
		"without a record":             {prepare.Unreadable, all, UnreadableRecord, "no readable record"},
		"deallocated":                  {prepare.Prepared, allocated("1"), NotAllocated, "not allocated to it"},
		"allocated on another driver":  {prepare.Prepared, allocated("1", "n:nic-0"), NotAllocated, "not allocated to it"},
		"allocated to another device":  {prepare.Prepared, allocated("1", "gpu-1 s", "gpu-5"), OtherDevices, "not allocated"},
		"allocated to another share":   {prepare.Prepared, allocated("1", "gpu-0", "gpu-1 t"), OtherDevices, "not allocated"},
		"allocated to one more device": {prepare.Prepared, allocated("1", "gpu-0", "gpu-1 s", "gpu-2"), OtherDevices, "not"},
		"gone":                         {prepare.Prepared, nil, Gone, "does not exist any more"},
		"replaced":                     {prepare.Prepared, allocated("2", "gpu-0"), Gone, "does not exist any more"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := error(nil)
			if tc.is == nil {
				answer = apierrors.NewNotFound(claimsResource, "train")
			}
			client, _ := scripted(tc.is, answer)
			records := &book{remembered: holding(tc.has)}
			records.recorded = map[types.UID]bool{"1": true}
			var told []map[Unsettled]int
			d := New(Options{DriverName: "gpu.example.com", Client: client, Preparer: records, Records: records,
				Observe: Observer{Unsettled: func(n map[Unsettled]int) { told = append(told, maps.Clone(n)) }}})
			var log strings.Builder
			ctx := klog.NewContext(t.Context(), textlogger.NewLogger(
				textlogger.NewConfig(textlogger.Output(&log), textlogger.Verbosity(2))))
			for range 3 {
				d.compare(ctx)
			}
			want := map[Unsettled]int{}
			if tc.want != "" {
				want[tc.want] = 1
			}
			if diff := cmp.Diff([]map[Unsettled]int{want, want, want}, told); diff != "" {
				t.Errorf("unsettled (-want +got):\n%s", diff)
			}
			if !records.recorded["1"] {
				t.Error("it was taken back")
			}
			lines := strings.Count(log.String(), "\n")
			if tc.says == "" && lines != 0 || tc.says != "" && (lines != 1 || !strings.Contains(log.String(), tc.says)) {
				t.Errorf("the log says\n%s\nwant one line with %q", log.String(), tc.says)
			}
		})
	}
}

// TestOnlyAClearAnswerMeansThatAClaimIsGone: an API server that does not answer, does not allow it, or is none.
func TestOnlyAClearAnswerMeansThatAClaimIsGone(t *testing.T) {
	status := func(code int, reason metav1.StatusReason, details string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"details":%s}`,
			reason, code, details)
	}
	claims := `{"name":"train","group":"resource.k8s.io","kind":"resourceclaims"}`
	for name, tc := range map[string]struct {
		code     int
		body     string
		wantGone bool
	}{
		"not found":                           {404, status(404, metav1.StatusReasonNotFound, claims), true},
		"another of that name":                {200, `{"kind":"ResourceClaim","metadata":{"name":"train","uid":"2"}}`, true},
		"the claim":                           {200, `{"kind":"ResourceClaim","metadata":{"name":"train","uid":"1"}}`, false},
		"a page of a proxy":                   {404, "404 page not found", false},
		"JSON of a proxy":                     {404, `{"message":"no such route"}`, false},
		"the API is not served":               {404, status(404, metav1.StatusReasonNotFound, `{}`), false},
		"no namespace":                        {404, status(404, metav1.StatusReasonNotFound, `{"kind":"pods"}`), false},
		"an answer without UID":               {200, `{"kind":"ResourceClaim","metadata":{"name":"train"}}`, false},
		"forbidden":                           {403, status(403, metav1.StatusReasonForbidden, claims), false},
		"unauthorized":                        {401, status(401, metav1.StatusReasonUnauthorized, `{}`), false},
		"bad request":                         {400, status(400, metav1.StatusReasonBadRequest, `{}`), false},
		"gone, which is about other versions": {410, status(410, metav1.StatusReasonGone, claims), false},
		"too many requests":                   {429, status(429, metav1.StatusReasonTooManyRequests, `{}`), false},
		"internal error":                      {500, status(500, metav1.StatusReasonInternalError, `{}`), false},
		"an empty page":                       {502, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.code)
				_, _ = w.Write([]byte(strings.Replace(tc.body, "{", `{"apiVersion":"resource.k8s.io/v1",`, 1)))
			}))
			defer server.Close()
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
			if err != nil {
				t.Fatal(err)
			}
			found, err := New(Options{Client: client}).find(quietly(t.Context()), holding(prepare.Prepared).Claim)
			if gone := found == nil && err == nil; gone != tc.wantGone {
				t.Errorf("gone = %v; %v, %v", gone, found, err)
			}
		})
	}
}

// TestACallOfTheKubeletStartsTheGraceAnew: it has found the claim, so the API server that has not had an old view.
func TestACallOfTheKubeletStartsTheGraceAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := apierrors.NewNotFound(claimsResource, "train")
		client, _ := scripted(nil, gone)
		records := &book{remembered: holding(prepare.Prepared)}
		records.recorded = map[types.UID]bool{"1": true}
		d := New(Options{DriverName: "gpu.example.com", Client: client, Preparer: records, Records: records,
			Decide: func(*resourceapi.ResourceClaim) (claim.Plan, error) { return claim.Plan{}, errors.New("any") }})
		ctx := quietly(t.Context())
		d.compare(ctx)
		time.Sleep(goneGrace - time.Second)
		_, _ = d.PrepareResourceClaims(ctx, []*resourceapi.ResourceClaim{allocated("1", "gpu-0")})
		time.Sleep(2 * time.Second)
		if d.compare(ctx); !records.recorded["1"] {
			t.Fatal("it was taken back after the grace that began before the call")
		}
		time.Sleep(goneGrace)
		if d.compare(ctx); records.recorded["1"] {
			t.Error("it was not taken back after a grace without a call")
		}
	})
}

// TestOneClaimThatCannotBeAskedForDoesNotHoldUpOthers: only trouble, which is with all, ends a look.
func TestOneClaimThatCannotBeAskedForDoesNotHoldUpOthers(t *testing.T) {
	m := &memory{recorded: map[types.UID]bool{"a-forbidden": true, "b-gone": true}}
	client, _ := scripted(nil, apierrors.NewForbidden(claimsResource, "a", errors.New("no")),
		apierrors.NewNotFound(claimsResource, "b"))
	d := New(Options{Client: client, Preparer: m, Records: m})
	d.unsettled.gone("b-gone", time.Now().Add(-goneGrace))
	if d.compare(quietly(t.Context())); !m.recorded["a-forbidden"] || m.recorded["b-gone"] {
		t.Errorf("left: %v", m.recorded)
	}
}

// missing is a directory of CDI files from which some are removed.
type missing struct {
	memory
	looks chan time.Time
	err   error
}

func (m *missing) RepairFiles(context.Context) error {
	m.looks <- time.Now()
	return m.err
}

func TestFault06ACDIFileIsMissedWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := &missing{looks: make(chan time.Time), err: errors.New("read-only file system")}
		d := New(Options{Records: records})
		var log strings.Builder
		ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), textlogger.NewLogger(
			textlogger.NewConfig(textlogger.Output(&log)))))
		ended := make(chan error)
		go func() { ended <- d.keepFiles(ctx) }()
		before := time.Now()
		for range 10 {
			now := <-records.looks
			if took := now.Sub(before); took < filesInterval || took > filesInterval*4/3 {
				t.Errorf("%s between two looks", took)
			}
			before = now
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "read-only file system"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.String())
		}
	})
}
