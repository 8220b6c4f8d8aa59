// Noopdriver is the least that a DRA driver can do: it answers each claim with the devices that are allocated to it,
// remembers nothing and writes no CDI file. What it takes is what the helper library takes, and one GET per claim; it
// is the baseline beside which "dra-sanity load" reads the times of real drivers.
//
// It finds all it needs in the environment, as any driver that dra-sanity starts (cmd/dra-sanity/README.md), and
// offers DRA_SANITY_DEVICES devices, 16 if that is not set, which are nothing but names.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

const (
	environmentPrefix = "DRA_SANITY_" // of what dra-sanity tells
	defaultDevices    = 16
	devicesPerSlice   = 64 // the most that a slice may hold if one of them has a taint
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "noopdriver:", err)
		os.Exit(1)
	}
}

// told is a directory, name or number that dra-sanity tells.
func told(name string) string { return os.Getenv(environmentPrefix + name) }

func run(ctx context.Context) error {
	count, err := deviceCount(told("DEVICES"))
	if err != nil {
		return err
	}
	client, err := newClient(told("KUBECONFIG"))
	if err != nil {
		return err
	}
	d := &driver{name: told("DRIVER"), fatal: make(chan error, 1)}
	helper, err := kubeletplugin.Start(ctx, d,
		kubeletplugin.DriverName(d.name), kubeletplugin.NodeName(told("NODE")), kubeletplugin.KubeClient(client),
		kubeletplugin.RegistrarDirectoryPath(told("REGISTRY_DIR")),
		kubeletplugin.PluginDataDirectoryPath(told("PLUGIN_DIR")),
		kubeletplugin.RollingUpdate(types.UID(told("INSTANCE"))),
		kubeletplugin.Serialize(false), // nothing here needs one call to wait for another
		kubeletplugin.HealthService(false))
	if err != nil {
		return fmt.Errorf("start the kubelet plugin: %w", err)
	}
	defer helper.Stop()
	_, err = resourceslice.StartController(ctx, resourceslice.Options{
		DriverName: d.name, KubeClient: client,
		Owner:     &resourceslice.Owner{APIVersion: "v1", Kind: "Node", Name: told("NODE")},
		Resources: &resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{told("NODE"): pool(count)}},
		SyncDelay: new(time.Second), MutationCacheTTL: new(time.Second),
		ErrorHandler: func(_ context.Context, err error, msg string) { fmt.Fprintf(os.Stderr, "%s: %v\n", msg, err) },
	})
	if err != nil && ctx.Err() == nil { // it may be asked to end before it has begun
		return fmt.Errorf("publish the devices: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.fatal:
		return err
	}
}

func deviceCount(text string) (int, error) {
	if text == "" {
		return defaultDevices, nil
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 {
		return 0, fmt.Errorf("%sDEVICES is %q: it must be a number of devices", environmentPrefix, text)
	}
	return count, nil
}

// newClient never holds a request back, and speaks what is quickest to encode.
func newClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return client, nil
}

// pool makes the devices up.
func pool(count int) (p resourceslice.Pool) {
	for i := range count {
		if i%devicesPerSlice == 0 {
			p.Slices = append(p.Slices, resourceslice.Slice{})
		}
		last := &p.Slices[len(p.Slices)-1]
		last.Devices = append(last.Devices, resourceapi.Device{Name: fmt.Sprintf("device-%d", i)})
	}
	return p
}
