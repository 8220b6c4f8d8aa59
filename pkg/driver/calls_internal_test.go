package driver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
)

func TestDrainWaitsForCallsButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{})
		begin := time.Now()
		if d.drain(quietly(t.Context())); time.Since(begin) != 0 {
			t.Errorf("waited %s for nothing", time.Since(begin))
		}
		go func() {
			call := func(context.Context, any) (any, error) { time.Sleep(time.Second); return nil, nil }
			_, _ = d.calls.intercept(t.Context(), &drapbv1.NodePrepareResourcesRequest{}, &grpc.UnaryServerInfo{}, call)
		}()
		synctest.Wait()
		if d.drain(quietly(t.Context())); time.Since(begin) != time.Second+answerTime {
			t.Errorf("waited %s for a call of a second", time.Since(begin))
		}
		begin = time.Now()
		d.calls.add(1)
		if d.drain(quietly(t.Context())); time.Since(begin) != drainTimeout {
			t.Errorf("waited %s for a call that hangs", time.Since(begin))
		}
	})
}
