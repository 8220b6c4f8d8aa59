package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the configuration in claims.
const GroupName = "gpu.resource.example.com"

// Version is the version of the API group in this package.
const Version = "v1alpha1"

// GpuConfigKind is the kind of [GpuConfig].
const GpuConfigKind = "GpuConfig"

// GroupVersion returns the API group and version of this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: GroupName, Version: Version}
}

// GpuConfig is the configuration of the GPUs that a request of a claim gets. All of it is optional: a claim without
// any configuration gets what [Default] returns.
//
// +kubebuilder:object:root=true
type GpuConfig struct {
	metav1.TypeMeta `json:",inline"`

	// Sharing says how several users of one GPU share it. Default: TimeSlicing with interval Default.
	// +optional
	Sharing *GpuSharing `json:"sharing,omitempty"`
}

// GpuSharingStrategy is a way to share a GPU.
type GpuSharingStrategy string

const (
	// TimeSlicingStrategy lets the users of a GPU take turns.
	TimeSlicingStrategy GpuSharingStrategy = "TimeSlicing"
	// SpacePartitioningStrategy gives each user of a GPU a part of it.
	SpacePartitioningStrategy GpuSharingStrategy = "SpacePartitioning"
	// MPSStrategy lets the users of a GPU run at the same time, through a daemon of NVIDIA's Multi-Process Service that
	// belongs to the claim.
	MPSStrategy GpuSharingStrategy = "MPS"
	// ExclusiveStrategy lets at most one process use a GPU at a time.
	ExclusiveStrategy GpuSharingStrategy = "Exclusive"
)

// TimeSliceInterval is how long a user of a time-sliced GPU runs before the next one does.
type TimeSliceInterval string

const (
	// DefaultTimeSlice leaves the interval to the GPU.
	DefaultTimeSlice TimeSliceInterval = "Default"
	// ShortTimeSlice is for users that want short answer times.
	ShortTimeSlice TimeSliceInterval = "Short"
	// MediumTimeSlice is between Short and Long.
	MediumTimeSlice TimeSliceInterval = "Medium"
	// LongTimeSlice is for users that want throughput.
	LongTimeSlice TimeSliceInterval = "Long"
)

// GpuSharing says how several users of one GPU share it.
type GpuSharing struct {
	// Strategy is TimeSlicing, SpacePartitioning, MPS or Exclusive. Required.
	Strategy GpuSharingStrategy `json:"strategy"`

	// TimeSlicingConfig belongs to the strategy TimeSlicing and is refused with another one.
	// +optional
	TimeSlicingConfig *TimeSlicingConfig `json:"timeSlicingConfig,omitempty"`

	// SpacePartitioningConfig belongs to the strategy SpacePartitioning and is refused with another one.
	// +optional
	SpacePartitioningConfig *SpacePartitioningConfig `json:"spacePartitioningConfig,omitempty"`

	// MPSConfig belongs to the strategy MPS and is refused with another one.
	// +optional
	MPSConfig *MPSConfig `json:"mpsConfig,omitempty"`
}

// TimeSlicingConfig configures the strategy TimeSlicing.
type TimeSlicingConfig struct {
	// Interval is Default, Short, Medium or Long. Default: Default.
	// +optional
	Interval TimeSliceInterval `json:"interval,omitempty"`
}

// SpacePartitioningConfig configures the strategy SpacePartitioning.
type SpacePartitioningConfig struct {
	// PartitionCount is the number of parts; not negative. Default: 1 if spacePartitioningConfig is not given at all,
	// 0 if it is given without partitionCount.
	// +optional
	PartitionCount int `json:"partitionCount,omitempty"`
}

// MPSConfig configures the strategy MPS. The fields are those of NVIDIA's driver for DRA and have the meaning of the
// commands of nvidia-cuda-mps-control that they are named after.
type MPSConfig struct {
	// DefaultActiveThreadPercentage is the part of the GPU's multiprocessors that one process may use, in percent, 1 to
	// 100. Default: what the daemon does by itself, which is 100.
	// +optional
	DefaultActiveThreadPercentage *int `json:"defaultActiveThreadPercentage,omitempty"`

	// DefaultPinnedDeviceMemoryLimit is how much memory of a GPU one process may allocate; at least 1Mi, and counted in
	// whole Mi, rounded down. Default: no limit.
	// +optional
	DefaultPinnedDeviceMemoryLimit *resource.Quantity `json:"defaultPinnedDeviceMemoryLimit,omitempty"`

	// DefaultPerDevicePinnedMemoryLimit is the same for one device each and replaces DefaultPinnedDeviceMemoryLimit for
	// it. The key is the UUID of the device or its index among the devices that the configuration applies to, in the
	// order of the allocation, from 0.
	// +optional
	DefaultPerDevicePinnedMemoryLimit map[string]resource.Quantity `json:"defaultPerDevicePinnedMemoryLimit,omitempty"`
}

var _ runtime.Object = (*GpuConfig)(nil)
