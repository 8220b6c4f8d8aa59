// Package status says in the status of claims how the devices of one driver are: status.devices of a ResourceClaim
// (KEP-4817). Nobody waits for it, and claims are prepared as well without it.
//
// # What it writes
//
// One entry for each device that is prepared on this node, those with admin access included, by server-side apply with
// a field manager that is the driver's name. Entries of other drivers, and what others say of our devices (binding
// conditions, KEP-5007), stay as they are: only what this manager wrote is changed, and removed once the claim is
// taken back.
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
// Where the API server drops status.devices (feature gate DRAResourceClaimDeviceStatus) or forbids to write it, the
// writer rests, and tries again with what is due after that.
package status
