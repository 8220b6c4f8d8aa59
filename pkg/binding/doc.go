// Package binding attaches devices to nodes before pods are bound there: it says in the status of a claim when the
// devices that need preparation are ready, or that they will not be (KEP-5007, binding conditions).
//
// The scheduler allocates such a device, copies its BindingConditions and BindingFailureConditions into the result, and
// waits with binding the pod. This room asks the [device.Fabric] to attach the device, and then sets the conditions in
// status.devices, for the claims of its driver on all nodes:
//
//   - attached: all BindingConditions are True, and the pod is bound;
//   - not attached: the first of the BindingFailureConditions is True, with the fabric's sentence. The scheduler takes
//     the allocation back and looks for other devices. A device without failure conditions is tried again instead,
//     until the scheduler gives up (10 minutes after the allocation, by default).
//
// # What it relies on
//
// It keeps nothing: what was done is in the status of the claim. After a restart, devices whose conditions are not set
// are asked for again, which the fabric finds attached or goes on with. One process does this at a time; who runs it
// sees to that. A process that was stopped for a while may do it beside the next one for a moment: writes bear that, by
// the version of the claim (below), and a [device.Fabric] has to.
//
// Every write carries the version of the claim whose allocation it is about, so that one that comes late cannot speak
// of a later allocation of the same device. When an allocation goes away, attaching for it is cancelled at once.
//
// Conditions are written by server-side apply with a field manager of this room alone, so entries and conditions of
// others, those of the driver on the node included, stay as they are.
//
// # Rights
//
// list and watch on resourceclaims; patch on resourceclaims/status; from Kubernetes 1.36 on also arbitrary-node:patch
// on resourceclaims/driver for the name of the driver; create on events (events.k8s.io), without which only the
// conditions tell why a device was not attached.
package binding
