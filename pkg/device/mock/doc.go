// Package mock makes up the devices of a node from a MachineProfile (api/config/v1alpha1), for trying dragoman out and
// for testing whatever allocates devices. It is a product, not a test double: what a container gets can be looked at.
//
// A container that holds a device finds
//   - the variables of [device.Environment];
//   - /run/dragoman/devices/<device>.json, read-only, which says what the device is and for which claim it was
//     prepared;
//   - /dev/dragoman/<device>, a character device like /dev/null.
//
// The names in the last two end in "-" and the first characters of the share ID if the device is shared: eight, or as
// many as it takes. The interface of a network device is in the description and in the status of the claim alone.
//
// A device that the profile calls unhealthy can still be prepared: whether somebody may have it is decided by taints
// and tolerations when it is allocated, not here.
//
// Beside what its profile says, a machine can be told by another process what goes wrong with it ([Backend.Tell]):
// control.go has what it can be told, the control_ files have the commands, and told.go keeps it.
//
// The room is longer than others because it is a whole backend: machine, files and watching.
package mock
