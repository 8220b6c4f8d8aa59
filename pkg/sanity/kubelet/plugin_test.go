package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// plugin is a driver of which a test says what it answers.
type plugin struct {
	registerapi.UnimplementedRegistrationServer
	info   registerapi.PluginInfo
	socket string

	mutex    sync.Mutex
	asked    int
	statuses []*registerapi.RegistrationStatus
	refuses  error // what it says to a notification
	calls    []string
	server   *grpc.Server
	listener net.Listener
}

// newPlugin serves on a registration socket in dir; its endpoint is the same socket.
func newPlugin(t *testing.T, dir, file string, change func(*plugin)) *plugin {
	t.Helper()
	p := &plugin{socket: filepath.Join(dir, file)}
	p.info = registerapi.PluginInfo{
		Type: registerapi.DRAPlugin, Name: "d.example.com", Endpoint: p.socket,
		SupportedVersions: []string{drav1.DRAPluginService, drav1beta1.DRAPluginService, healthv1.DRAResourceHealthService},
	}
	if change != nil {
		change(p)
	}
	var err error
	if p.listener, err = net.Listen("unix", p.socket); err != nil {
		t.Fatal(err)
	}
	p.server = grpc.NewServer()
	registerapi.RegisterRegistrationServer(p.server, p)
	drav1.RegisterDRAPluginServer(p.server, v1{plugin: p})
	drav1beta1.RegisterDRAPluginServer(p.server, v1beta1{plugin: p})
	healthv1.RegisterDRAResourceHealthServer(p.server, health{})
	go func() { _ = p.server.Serve(p.listener) }()
	t.Cleanup(p.server.Stop)
	return p
}

// die leaves the socket, as a process does that is killed.
func (p *plugin) die() {
	p.listener.(*net.UnixListener).SetUnlinkOnClose(false)
	p.server.Stop()
}

func (p *plugin) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.asked++
	return &registerapi.PluginInfo{
		Type: p.info.Type, Name: p.info.Name, Endpoint: p.info.Endpoint, SupportedVersions: p.info.SupportedVersions,
	}, nil
}

func (p *plugin) NotifyRegistrationStatus(
	_ context.Context, status *registerapi.RegistrationStatus,
) (*registerapi.RegistrationStatusResponse, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.statuses = append(p.statuses, status)
	return &registerapi.RegistrationStatusResponse{}, p.refuses
}

// isTold waits until it was told something so often.
func (p *plugin) isTold(t *testing.T, times int) {
	t.Helper()
	for end := within(t, patience); ; time.Sleep(time.Millisecond) {
		asked, statuses := p.told()
		if len(statuses) >= times {
			return
		}
		if end.Err() != nil {
			t.Fatalf("it was asked %d times and told %q", asked, statuses)
		}
	}
}

// told returns how often it was asked, and what it was told: the errors, "" for success.
func (p *plugin) told() (asked int, statuses []string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, status := range p.statuses {
		statuses = append(statuses, status.Error)
	}
	return p.asked, statuses
}

func (p *plugin) called(what string, claims int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("%s %d", what, claims))
}

// v1 answers each claim but "unanswered" with a device; "bad" with an error; "extra" with one more claim.
type v1 struct {
	drav1.UnimplementedDRAPluginServer
	plugin *plugin
}

func (s v1) NodePrepareResources(
	_ context.Context, request *drav1.NodePrepareResourcesRequest,
) (*drav1.NodePrepareResourcesResponse, error) {
	s.plugin.called("v1 prepare", len(request.Claims))
	answer := &drav1.NodePrepareResourcesResponse{Claims: map[string]*drav1.NodePrepareResourceResponse{}}
	for _, claim := range request.Claims {
		switch claim.Name {
		case "broken":
			return nil, errors.New("the whole call is wrong")
		case "bad":
			answer.Claims[claim.Uid] = &drav1.NodePrepareResourceResponse{Error: "no device"}
		case "extra":
			answer.Claims["another"] = &drav1.NodePrepareResourceResponse{}
			fallthrough
		default:
			answer.Claims[claim.Uid] = &drav1.NodePrepareResourceResponse{Devices: []*drav1.Device{{
				RequestNames: []string{"gpu"}, PoolName: "pool", DeviceName: "device-0", ShareId: new("share"),
				CdiDeviceIds: []string{"d.example.com/device=" + claim.Name},
			}}}
		case "unanswered":
		}
	}
	return answer, nil
}

func (s v1) NodeUnprepareResources(
	_ context.Context, request *drav1.NodeUnprepareResourcesRequest,
) (*drav1.NodeUnprepareResourcesResponse, error) {
	s.plugin.called("v1 unprepare", len(request.Claims))
	answer := &drav1.NodeUnprepareResourcesResponse{Claims: map[string]*drav1.NodeUnprepareResourceResponse{}}
	for _, claim := range request.Claims {
		switch claim.Name {
		case "bad":
			answer.Claims[claim.Uid] = &drav1.NodeUnprepareResourceResponse{Error: "it is stuck"}
		case "unanswered":
		default:
			answer.Claims[claim.Uid] = &drav1.NodeUnprepareResourceResponse{}
		}
	}
	return answer, nil
}

type v1beta1 struct {
	drav1beta1.UnimplementedDRAPluginServer
	plugin *plugin
}

func (s v1beta1) NodePrepareResources(
	_ context.Context, request *drav1beta1.NodePrepareResourcesRequest,
) (*drav1beta1.NodePrepareResourcesResponse, error) {
	s.plugin.called("v1beta1 prepare", len(request.Claims))
	answer := &drav1beta1.NodePrepareResourcesResponse{Claims: map[string]*drav1beta1.NodePrepareResourceResponse{}}
	for _, claim := range request.Claims {
		answer.Claims[claim.Uid] = &drav1beta1.NodePrepareResourceResponse{Devices: []*drav1beta1.Device{{
			PoolName: "pool", DeviceName: "device-0", CdiDeviceIds: []string{"d.example.com/device=" + claim.Name},
		}}}
	}
	return answer, nil
}

func (s v1beta1) NodeUnprepareResources(
	_ context.Context, request *drav1beta1.NodeUnprepareResourcesRequest,
) (*drav1beta1.NodeUnprepareResourcesResponse, error) {
	s.plugin.called("v1beta1 unprepare", len(request.Claims))
	answer := &drav1beta1.NodeUnprepareResourcesResponse{Claims: map[string]*drav1beta1.NodeUnprepareResourceResponse{}}
	for _, claim := range request.Claims {
		answer.Claims[claim.Uid] = &drav1beta1.NodeUnprepareResourceResponse{}
	}
	return answer, nil
}

type health struct {
	healthv1.UnimplementedDRAResourceHealthServer
}

func (health) NodeWatchResources(
	_ *healthv1.NodeWatchResourcesRequest, stream grpc.ServerStreamingServer[healthv1.NodeWatchResourcesResponse],
) error {
	device := func(name string, seconds int64) *healthv1.DeviceHealth {
		return &healthv1.DeviceHealth{
			Device: &healthv1.DeviceIdentifier{PoolName: "pool", DeviceName: name},
			Health: healthv1.HealthStatus_UNHEALTHY, HealthCheckTimeoutSeconds: seconds, Message: "hot",
		}
	}
	err := stream.Send(&healthv1.NodeWatchResourcesResponse{
		Devices: []*healthv1.DeviceHealth{device("device-0", 5), device("device-1", 0)},
	})
	if err == nil {
		<-stream.Context().Done()
	}
	return err
}

// registry is a directory with a short name.
func registry(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
