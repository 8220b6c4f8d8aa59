package kubelet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
)

// CallTimeout is how long a kubelet waits for a driver (pkg/kubelet/cm/dra/plugin).
const CallTimeout = 45 * time.Second

// Plugin is one registered instance of a driver.
type Plugin struct {
	Driver   string
	Endpoint string
	Services []string // what it offers, in its order
	Service  string   // which of them is used: the first that a kubelet knows, unless a test chooses

	conn  *grpc.ClientConn
	order int
}

// Over returns the plugin as a kubelet uses it that chose another version of the service.
func (p *Plugin) Over(service string) *Plugin {
	other := *p
	other.Service = service
	return &other
}

// Offers says whether the driver offers a gRPC service.
func (p *Plugin) Offers(service string) bool { return slices.Contains(p.Services, service) }

// Versions returns the versions of the DRA service that the driver offers and a kubelet knows, in the driver's order.
func (p *Plugin) Versions() []string {
	return slices.DeleteFunc(slices.Clone(p.Services), func(service string) bool {
		_, known := callers[service]
		return !known
	})
}

// Claim is how a kubelet names a ResourceClaim to a driver.
type Claim struct {
	Namespace, Name string
	UID             types.UID
}

// Device is one device of a driver's answer.
type Device struct {
	Requests     []string
	Pool, Device string
	CDIDeviceIDs []string
	ShareID      string // of a share of a device; v1beta1 has none
}

// Prepared is a driver's answer for one claim: its devices, or the error.
type Prepared struct {
	Devices []Device
	Err     error
}

// IDs returns the CDI device ids of all devices, in the order of the answer.
func (p Prepared) IDs() []string {
	var ids []string
	for _, device := range p.Devices {
		ids = append(ids, device.CDIDeviceIDs...)
	}
	return ids
}

// Prepare calls NodePrepareResources. An error means that the call failed, or that the answer is none for these claims.
func (p *Plugin) Prepare(ctx context.Context, claims ...Claim) (map[types.UID]Prepared, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	answer, err := callers[p.Service].prepare(ctx, p.conn, claims)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return answer, onePerClaim(answer, claims)
}

// Unprepare calls NodeUnprepareResources; the answer holds the error of each claim, nil where it went well.
func (p *Plugin) Unprepare(ctx context.Context, claims ...Claim) (map[types.UID]error, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	answer, err := callers[p.Service].unprepare(ctx, p.conn, claims)
	if err != nil {
		return nil, fmt.Errorf("unprepare: %w", err)
	}
	return answer, onePerClaim(answer, claims)
}

// PrepareOne prepares one claim and returns its devices.
func (p *Plugin) PrepareOne(ctx context.Context, claim Claim) (Prepared, error) {
	answer, err := p.Prepare(ctx, claim)
	if err != nil {
		return Prepared{}, err
	}
	return answer[claim.UID], answer[claim.UID].Err
}

// UnprepareOne unprepares one claim.
func (p *Plugin) UnprepareOne(ctx context.Context, claim Claim) error {
	answer, err := p.Unprepare(ctx, claim)
	if err != nil {
		return err
	}
	return answer[claim.UID]
}

func onePerClaim[T any](answer map[types.UID]T, claims []Claim) error {
	if len(answer) != len(claims) {
		return fmt.Errorf("answer has %d entries for %d claims", len(answer), len(claims))
	}
	for _, claim := range claims {
		if _, ok := answer[claim.UID]; !ok {
			return fmt.Errorf("answer has no entry for claim %s/%s (%s)", claim.Namespace, claim.Name, claim.UID)
		}
	}
	return nil
}

// caller speaks one version of the service.
type caller struct {
	prepare   func(context.Context, grpc.ClientConnInterface, []Claim) (map[types.UID]Prepared, error)
	unprepare func(context.Context, grpc.ClientConnInterface, []Claim) (map[types.UID]error, error)
}

//nolint:gochecknoglobals // a table
var callers = map[string]caller{
	drav1.DRAPluginService:      {prepareV1, unprepareV1},
	drav1beta1.DRAPluginService: {prepareV1beta1, unprepareV1beta1},
}

func prepareV1(ctx context.Context, conn grpc.ClientConnInterface, claims []Claim) (map[types.UID]Prepared, error) {
	request := &drav1.NodePrepareResourcesRequest{}
	for _, c := range claims {
		request.Claims = append(request.Claims, &drav1.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)})
	}
	response, err := drav1.NewDRAPluginClient(conn).NodePrepareResources(ctx, request)
	if err != nil {
		return nil, err
	}
	answer := map[types.UID]Prepared{}
	for uid, r := range response.Claims {
		prepared := Prepared{Err: asError(r.Error)}
		for _, d := range r.Devices {
			device := Device{d.RequestNames, d.PoolName, d.DeviceName, d.CdiDeviceIds, d.GetShareId()}
			prepared.Devices = append(prepared.Devices, device)
		}
		answer[types.UID(uid)] = prepared
	}
	return answer, nil
}

func unprepareV1(ctx context.Context, conn grpc.ClientConnInterface, claims []Claim) (map[types.UID]error, error) {
	request := &drav1.NodeUnprepareResourcesRequest{}
	for _, c := range claims {
		request.Claims = append(request.Claims, &drav1.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)})
	}
	response, err := drav1.NewDRAPluginClient(conn).NodeUnprepareResources(ctx, request)
	if err != nil {
		return nil, err
	}
	answer := map[types.UID]error{}
	for uid, r := range response.Claims {
		answer[types.UID(uid)] = asError(r.Error)
	}
	return answer, nil
}

func prepareV1beta1(
	ctx context.Context, conn grpc.ClientConnInterface, claims []Claim,
) (map[types.UID]Prepared, error) {
	request := &drav1beta1.NodePrepareResourcesRequest{}
	for _, c := range claims {
		claim := &drav1beta1.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}
		request.Claims = append(request.Claims, claim)
	}
	response, err := drav1beta1.NewDRAPluginClient(conn).NodePrepareResources(ctx, request)
	if err != nil {
		return nil, err
	}
	answer := map[types.UID]Prepared{}
	for uid, r := range response.Claims {
		prepared := Prepared{Err: asError(r.Error)}
		for _, d := range r.Devices {
			device := Device{d.RequestNames, d.PoolName, d.DeviceName, d.CdiDeviceIds, ""}
			prepared.Devices = append(prepared.Devices, device)
		}
		answer[types.UID(uid)] = prepared
	}
	return answer, nil
}

func unprepareV1beta1(ctx context.Context, conn grpc.ClientConnInterface, claims []Claim) (map[types.UID]error, error) {
	request := &drav1beta1.NodeUnprepareResourcesRequest{}
	for _, c := range claims {
		claim := &drav1beta1.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}
		request.Claims = append(request.Claims, claim)
	}
	response, err := drav1beta1.NewDRAPluginClient(conn).NodeUnprepareResources(ctx, request)
	if err != nil {
		return nil, err
	}
	answer := map[types.UID]error{}
	for uid, r := range response.Claims {
		answer[types.UID(uid)] = asError(r.Error)
	}
	return answer, nil
}

func asError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}
