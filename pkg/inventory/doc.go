// Package inventory knows the devices of the node as they are now and turns them into the ResourceSlices of the node's
// pool.
//
// [Slices] is pure: the same snapshot gives the same bytes in whatever order the backend lists things, because the
// order of slices and devices is the scheduler's order of preference and because each difference is a write.
//
// # What is left out
//
// The API server refuses a whole slice for one bad field in it, so everything is checked against the API's limits
// first. What only describes a device (an attribute, a capacity of a device that has one user at a time) is left out
// alone. What limits the use of a device (its counters, taints, binding conditions, the capacities of a device that
// several users share) cannot be left out without promising more than there is: then the device is left out.
// Either way the caller gets to know, see [LeftOut].
//
// # What the cluster can hold
//
// Older clusters drop taints and shared counters, or want the latter in other slices. [Offer] says what this one does;
// until somebody has found out there are no slices, since those of an earlier process may hold more than could be
// offered without knowing. An unhealthy device stays where it is and gets a taint, so that its falling ill is one
// write.
//
// # Ill again and again
//
// A device that falls ill is ill at once, and one that recovers is well at once, unless it falls ill again and again:
// then it stays ill until it was well for a minute. So nobody gets it in its good moments, and it costs few writes.
//
// # Unknown is not none
//
// As long as no look at the devices has succeeded there are no slices, not even an empty one. When a look fails, the
// devices stay as they were seen last. [Inventory.Current] says whether that still counts.
//
// The room is larger than others because the API has that many limits; each is a few lines in sanitise.go or policy.go.
package inventory
