// Package status says in the status of claims how the devices of one driver are: status.devices of a ResourceClaim
// (KEP-4817). Nobody waits for it, and claims are prepared as well without it.
//
// # What it writes
//
// One entry for each device that is prepared on this node, those with admin access included, by server-side apply with
// a field manager of the driver on this node. Entries of other drivers and of other nodes, to which a claim may be
// allocated after this one, and what others say of our devices (binding conditions, KEP-5007), stay as they are: only
// what this manager wrote is changed, and removed once the claim is taken back.
//
// Two conditions, since they change for different reasons and at different times:
//
//   - Ready is True from the end of Prepare until Unprepare; it says where and as which CDI device. It says nothing
//     about health: a claim that is prepared stays so when a device falls ill.
//   - Healthy follows the device: True, False with the reason of the backend, or Unknown when it is not there.
//
// # When it writes
//
// What is due is kept claim by claim, and looked up when it is written: what is recorded on the node then is what the
// status is to show. So the latest wins, repeating does no harm, and two processes that take turns agree. A claim costs
// one request after Prepare and one after Unprepare.
//
// Where the API server drops status.devices (feature gate DRAResourceClaimDeviceStatus) or a right to it is missing,
// the writer rests. What becomes due then is written after the rest, and entries that could not be removed are removed;
// claims with devices that waited to be compared are compared again. What the API server refuses of one claim keeps no
// other claim from being written.
//
// What is due is lost when the process ends: another one compares the claims that have devices. What it cannot know of
// are claims that were taken back; the API server itself removes their entries when it sees them deallocated.
package status
