package main

import (
	"context"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// patience is the limit of all waits; it is only used up when a test fails.
const patience = 30 * time.Second

// kubelet registers a plugin and returns a client that speaks v1, or v1beta1 if asked to.
func kubelet(t *testing.T, socket string, beta bool) drapbv1.DRAPluginClient {
	t.Helper()
	eventually(t, "there is a socket "+socket, func() bool { // the kubelet too does not dial before
		_, err := os.Stat(socket)
		return err == nil
	})
	registration := registerapi.NewRegistrationClient(connect(t, socket))
	info, err := registration.GetInfo(limit(t), &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("GetInfo on %s: %v", socket, err)
	}
	status := &registerapi.RegistrationStatus{PluginRegistered: true}
	if _, err := registration.NotifyRegistrationStatus(limit(t), status); err != nil {
		t.Fatalf("NotifyRegistrationStatus: %v", err)
	}
	conn := connect(t, info.GetEndpoint())
	if beta {
		return drapbv1beta1.V1Beta1ClientWrapper{DRAPluginClient: drapbv1beta1.NewDRAPluginClient(conn)}
	}
	return drapbv1.NewDRAPluginClient(conn)
}

func connect(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func claimRefs(names ...string) (claims []*drapbv1.Claim) {
	for _, name := range names {
		claims = append(claims, &drapbv1.Claim{Namespace: "team-a", Name: name, Uid: "uid-of-" + name})
	}
	return claims
}

func nodePrepare(
	t *testing.T, k drapbv1.DRAPluginClient, names ...string,
) (*drapbv1.NodePrepareResourcesResponse, error) {
	return k.NodePrepareResources(limit(t), &drapbv1.NodePrepareResourcesRequest{Claims: claimRefs(names...)})
}

func nodeUnprepare(
	t *testing.T, k drapbv1.DRAPluginClient, names ...string,
) (*drapbv1.NodeUnprepareResourcesResponse, error) {
	return k.NodeUnprepareResources(limit(t), &drapbv1.NodeUnprepareResourcesRequest{Claims: claimRefs(names...)})
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok, looking again and again since nothing tells of the change.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
