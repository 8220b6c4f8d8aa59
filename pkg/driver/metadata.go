package driver

import (
	"context"
	"sync/atomic"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metadatav1alpha1 "k8s.io/dynamic-resource-allocation/api/metadata/v1alpha1"
	metadatav1beta1 "k8s.io/dynamic-resource-allocation/api/metadata/v1beta1"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/metadata"
	"example.com/dragoman/pkg/prepare"
)

// firstLook bounds the wait for the first look at the devices, whose attributes containers are told. Claims may be
// prepared right after a start.
const firstLook = 5 * time.Second

// told is what containers are told about their devices in files (KEP-5304). The helper writes them, and removes them
// when the kubelet has a claim taken back; the rest is here.
type told struct {
	enabled bool
	nowhere bool // it is not known where CDI files are
	health  *health
	files   metadata.Files
	records Records
	// remains is set while it is off and there are files of claims that were prepared when it was on: the helper does
	// not remove them then.
	remains atomic.Bool
}

func newTold(o Options, h *health, dataDir string) *told {
	return &told{enabled: o.DeviceMetadata, nowhere: o.CDIDir == "", health: h, records: o.Records,
		files: metadata.At(dataDir, o.CDIDir, o.DriverName)}
}

// helperOptions has the files written in each version that a program in a container may know: from the newest, as it
// reads the first that it understands.
func (t *told) helperOptions(cdiDir string) []kubeletplugin.Option {
	if !t.enabled {
		return nil
	}
	return []kubeletplugin.Option{
		kubeletplugin.EnableDeviceMetadata(true, []schema.GroupVersion{
			metadatav1beta1.SchemeGroupVersion, metadatav1alpha1.SchemeGroupVersion,
		}),
		kubeletplugin.CDIDirectory(cdiDir),
	}
}

// add says what containers are told of prepared devices: the attributes that the scheduler knows, and network data.
func (t *told) add(ctx context.Context, devices []kubeletplugin.Device, prepared []prepare.Device) {
	if !t.enabled {
		return
	}
	attributes := make(map[string]map[resourceapi.QualifiedName]resourceapi.DeviceAttribute)
	for _, d := range t.looked(ctx) {
		attributes[d.Name] = d.Attributes
	}
	for i := range devices {
		about := &kubeletplugin.DeviceMetadata{NetworkData: prepared[i].Network.DeepCopy(),
			Attributes: make(map[string]resourceapi.DeviceAttribute)}
		for name, value := range attributes[prepared[i].Device] {
			about.Attributes[string(name)] = value
		}
		devices[i].Metadata = about
	}
}

// looked returns the devices of the node, once they were looked at.
func (t *told) looked(ctx context.Context) []device.Device {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	for {
		devices, noted, changed := t.health.now()
		if noted {
			return devices
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// sweep removes the files of claims that no record knows of. It is for the start of a process, as [Records.Restore].
func (t *told) sweep(ctx context.Context) {
	if t.nowhere {
		return
	}
	remains, err := t.files.Sweep(func() ([]metadata.Claim, error) {
		remembered, err := t.records.Remembered()
		known := make([]metadata.Claim, 0, len(remembered))
		for _, c := range remembered {
			known = append(known, metadata.Claim(c.Claim))
		}
		return known, err
	})
	if err != nil {
		klog.FromContext(ctx).Error(err, "Clean up after an earlier process; goes on without")
	}
	t.remains.Store(remains && !t.enabled)
}

// unprepared removes what the helper does not remove of a claim that the kubelet had taken back.
func (t *told) unprepared(ctx context.Context, c device.Claim) {
	if t.remains.Load() {
		t.remove(ctx, c)
	}
}

// remove removes what is left of a claim. Nobody reads it any more, so that it cannot be removed is told, and no more:
// the next start tries again.
func (t *told) remove(ctx context.Context, c device.Claim) {
	if t.nowhere {
		return
	}
	if err := t.files.Remove(metadata.Claim(c)); err != nil {
		klog.FromContext(ctx).Error(err, "Clean up after a claim")
	}
}
