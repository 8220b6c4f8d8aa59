#!/bin/sh
# Starts dragoman for "dra-sanity load", with DRA_SANITY_DEVICES made-up GPUs (at least 2; if it is not set, 8) that say
# as much of themselves as real ones: 13 attributes, 2 capacities. With DRA_SANITY_CHANGE it starts nothing, but changes
# the machine of the dragoman that runs, which watches the file, from what it was at the start to:
#   one      another attribute of one GPU, in another slice than the first if there is one
#   two      another attribute of two GPUs, in two slices if there are two
#   shuffle  the same GPUs in another order
#   back     what it was at the start; to come between two of the others
set -eu
count=${DRA_SANITY_DEVICES:-8} change=${DRA_SANITY_CHANGE:-back}
machine=$DRA_SANITY_KUBELET_DIR/machine # a directory for the file alone, because it is watched

# The GPUs are in two groups, and dragoman publishes them by their PCI addresses: in turn one of a and one of b, 64 a
# slice, so that 32 of each group are in each slice. {index} and {uuid} would change with the order of the groups.
group() {
  cat <<GROUP
- name: $1
  count: $2
  deviceName: gpu-$1-{groupIndex}
  numaNode: 0
  pcieRoot: "pci{groupIndex:04x}:00"
  pciBusID: "{groupIndex:04x}:0$1:00.0"
  attributes:
    type: {string: gpu}
    index: {int: "{groupIndex}"}
    uuid: {string: "GPU-{groupIndex:08x}-0000-4000-8000-00000000000$1"}
    model: {string: H100}
    productName: {string: NVIDIA H100 80GB HBM3}
    brand: {string: Nvidia}
    architecture: {string: Hopper}
    cudaComputeCapability: {version: 9.0.0}
    driverVersion: {version: 580.95.5}
    cudaDriverVersion: {version: 13.0.0}
  capacity:
    memory: {value: 81559Mi}
    compute: {value: 100}
  devices: [$3]
GROUP
}

other() { echo "{groupIndex: $1, attributes: {productName: {string: NVIDIA H100 NVL}}}"; }

changed=$((count > 64 ? 32 : 0)) # in the second slice if there is one
a= b=
case $change in
one) a=$(other $changed) ;;
two) a=$(other $changed) b=$(other 0) ;;
shuffle | back) ;;
*) echo "DRA_SANITY_CHANGE is $change: it must be one, two, shuffle or back" >&2 && exit 2 ;;
esac

mkdir -p "$machine"
{
  printf 'apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups:\n'
  [ "$change" != shuffle ] || group b $((count / 2)) ''
  group a $((count - count / 2)) "$a"
  [ "$change" = shuffle ] || group b $((count / 2)) "$b"
} >"$machine/$$"
mv "$machine/$$" "$machine/profile.yaml" # never half a file

if [ -z "${DRA_SANITY_CHANGE:-}" ]; then
  PROFILE=$machine/profile.yaml exec "${0%/*}/dragoman.sh"
fi
