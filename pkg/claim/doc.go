// Package claim reads an allocated ResourceClaim and decides what it asks of this driver on this node: which devices,
// in which order, each with which configuration. It is pure: the same claim gives the same plan or the same error, on
// any machine, and nothing that a claim may hold makes it panic.
//
// # Which configuration applies
//
// Exactly one configuration applies to a result; nothing is merged. Those of DeviceClasses come before those of the
// claim, and within each the later one wins. A configuration for the request "gpu" applies to the result "gpu/large"
// of a prioritized list as well; one for "gpu/large" only to that. Those of other drivers are skipped. All that apply
// to a result of ours are decoded, also those that a later one overrides, so that a typo is never silent.
//
// # Admin access
//
// Admin access is per result, and for looking at a device that somebody else may be using. Configurations of classes
// are meant for workloads and are not applied to such a result; one of the claim is refused for it, unless it says
// what would apply anyway.
package claim
