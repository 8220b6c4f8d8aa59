// Tinydriver is the smallest DRA driver that keeps every promise that dra-sanity checks, with made-up devices that are
// nothing but environment variables of a container. It shows that the checks ask for little, and with --broken that
// they see what is missing. It is no model of a driver: all of its claims are in one file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// What can be broken on purpose.
const (
	// A claim that is known is answered from memory, whatever became of its CDI file.
	noCDIRecreation = "no-cdi-recreation"
	// Claims are remembered by the process only.
	forgetsOnRestart = "forgets-on-restart"
	// The other claims of a call are prepared and not answered.
	answersFirstClaimOnly = "answers-first-claim-only"
	// Nobody looks who has a device, or how much of it.
	looksAtNobody = "looks-at-nobody"
)

const (
	devices           = 10            // for one claim each; and one more to share
	colour            = "colour"      // the parameter of a configuration: {"colour":"red"}
	variablePrefix    = "TINY_"       // of the container's environment
	cdiClass          = "device"      // of CDI IDs
	environmentPrefix = "DRA_SANITY_" // of what dra-sanity tells
	stateFile         = "claims.json" // in the state directory
	room, allRoom     = "room", "10"  // the capacity of the device that is shared
)

func main() {
	broken := flag.String("broken", "", "what to do wrong: "+strings.Join(variants(), ", "))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *broken); err != nil {
		fmt.Fprintln(os.Stderr, "tinydriver:", err)
		os.Exit(1)
	}
}

func variants() []string {
	return []string{noCDIRecreation, forgetsOnRestart, answersFirstClaimOnly, looksAtNobody}
}

// told is a directory or name that dra-sanity tells.
func told(name string) string { return os.Getenv(environmentPrefix + name) }

func run(ctx context.Context, broken string) error {
	if broken != "" && !slices.Contains(variants(), broken) {
		return fmt.Errorf("--broken %q: there are %s", broken, strings.Join(variants(), ", "))
	}
	config, err := clientcmd.BuildConfigFromFlags("", told("KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	d := &driver{name: told("DRIVER"), node: told("NODE"), broken: broken, memory: claims{}, fatal: make(chan error, 1)}
	// The helper takes turns between instances with a lock file, so each call may read and write all claims.
	helper, err := kubeletplugin.Start(ctx, d,
		kubeletplugin.DriverName(d.name), kubeletplugin.NodeName(d.node), kubeletplugin.KubeClient(client),
		kubeletplugin.RegistrarDirectoryPath(told("REGISTRY_DIR")),
		kubeletplugin.PluginDataDirectoryPath(told("PLUGIN_DIR")),
		kubeletplugin.RollingUpdate(types.UID(told("INSTANCE"))))
	if err != nil {
		return fmt.Errorf("start the kubelet plugin: %w", err)
	}
	defer helper.Stop()
	if err := d.publish(ctx, client); err != nil && ctx.Err() == nil { // it may be asked to end before it has begun
		return fmt.Errorf("publish the devices: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.fatal:
		return err
	}
}

// publish is what the helper's PublishResources does, but for half a minute of rest between two looks at the slices.
func (d *driver) publish(ctx context.Context, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, d.node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: made()}}}
	_, err = resourceslice.StartController(ctx, resourceslice.Options{
		DriverName: d.name, KubeClient: client,
		Owner:     &resourceslice.Owner{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
		Resources: &resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{d.node: pool}},
		SyncDelay: new(time.Second), MutationCacheTTL: new(time.Second),
		ErrorHandler: func(_ context.Context, err error, msg string) { fmt.Printf("%s: %v\n", msg, err) },
	})
	return err
}

// made makes the devices up.
func made() []resourceapi.Device {
	var all []resourceapi.Device
	for i := range devices {
		all = append(all, resourceapi.Device{Name: fmt.Sprintf("device-%d", i)})
	}
	return append(all, resourceapi.Device{Name: "shared", AllowMultipleAllocations: new(true),
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{room: {Value: resource.MustParse(allRoom)}}})
}
