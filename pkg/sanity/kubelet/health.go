package kubelet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
)

// Health is what a driver says of one device: HEALTHY, UNHEALTHY or UNKNOWN, and why.
type Health struct {
	Pool, Device, Status, Message string
	// Timeout is how long the report holds; 30 s if the driver does not say.
	Timeout time.Duration
}

// healthTimeout is the kubelet's, where a driver names none.
const healthTimeout = 30 * time.Second

func health(pool, device, status, message string, seconds int64) Health {
	timeout := time.Duration(seconds) * time.Second
	if seconds <= 0 {
		timeout = healthTimeout
	}
	return Health{Pool: pool, Device: device, Status: status, Message: message, Timeout: timeout}
}

// WatchHealth begins to watch the health of the driver's devices, as a kubelet does with the feature gate
// ResourceHealthStatus: with v1, or with v1alpha1 as before 1.37 if old is set. Next returns the next report; both end
// with ctx.
func (p *Plugin) WatchHealth(ctx context.Context, old bool) (next func() ([]Health, error), err error) {
	service := healthv1.DRAResourceHealthService
	if old {
		service = healthv1alpha1.DRAResourceHealthService
	}
	if !slices.Contains(p.Services, service) {
		return nil, fmt.Errorf("the driver does not offer %s: %v", service, p.Services)
	}
	if old {
		stream, err := healthv1alpha1.NewDRAResourceHealthClient(p.conn).NodeWatchResources(ctx,
			&healthv1alpha1.NodeWatchResourcesRequest{})
		if err != nil {
			return nil, fmt.Errorf("watch health: %w", err)
		}
		return reports(stream, (*healthv1alpha1.NodeWatchResourcesResponse).GetDevices,
			func(d *healthv1alpha1.DeviceHealth) Health {
				return health(d.GetDevice().GetPoolName(), d.GetDevice().GetDeviceName(), d.GetHealth().String(), d.GetMessage(),
					d.GetHealthCheckTimeoutSeconds())
			}), nil
	}
	stream, err := healthv1.NewDRAResourceHealthClient(p.conn).NodeWatchResources(ctx,
		&healthv1.NodeWatchResourcesRequest{})
	if err != nil {
		return nil, fmt.Errorf("watch health: %w", err)
	}
	return reports(stream, (*healthv1.NodeWatchResourcesResponse).GetDevices, func(d *healthv1.DeviceHealth) Health {
		return health(d.GetDevice().GetPoolName(), d.GetDevice().GetDeviceName(), d.GetHealth().String(), d.GetMessage(),
			d.GetHealthCheckTimeoutSeconds())
	}), nil
}

// reports reads a stream of either version.
func reports[Response, Device any](
	stream grpc.ServerStreamingClient[Response], devices func(*Response) []Device, read func(Device) Health,
) func() ([]Health, error) {
	return func() ([]Health, error) {
		response, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		var all []Health
		for _, d := range devices(response) {
			all = append(all, read(d))
		}
		return all, nil
	}
}
