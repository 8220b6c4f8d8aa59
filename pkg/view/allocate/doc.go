// Package allocate says which devices claims would get on a node of a cluster. It is the only door to the DRA library's
// allocator, the code with which the scheduler decides, so a yes is the scheduler's yes, with the same devices.
//
// What the scheduler decides around it is here too: which claims a pod has, what of them keeps it from being tried at
// all, which nodes it could run on. Resources that are not devices (processors, memory, the number of pods) are not
// judged, nor is anything that is in the scheduler's memory only.
//
// It is pure: a view.Cluster goes in.
//
// The room has more than 500 lines: releases of Kubernetes decide differently, and what the scheduler does around the
// allocator is written out once, here, for all commands.
package allocate
