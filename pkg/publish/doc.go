// Package publish keeps the ResourceSlices of one driver on one node, as the API server holds them, equal to what was
// published last: with the fewest writes, again whenever somebody changes or deletes them, and never worse than before.
//
// The writing is done by the ResourceSlice controller of the DRA library. This package adds what a driver needs
// around it:
//
//   - Certainty. [Publisher.Acknowledged] compares what was published with what the API server itself says it holds,
//     through the controller's own list and watch; it costs no further requests.
//   - Safety. When one of several slices is refused half way, the controller's retries delete the other good ones.
//     So a change that takes several writes is rehearsed first (dry run), and not begun if it would be refused.
//   - Few writes. The controller rewrites all slices of a pool when two of them changed. If these still hold the
//     same devices, they are handed to it one by one.
//   - Speed without a hot loop. The slices of a node that has none are written at once, without the second that the
//     controller takes to start. Those that a restarted kubelet deleted are back within a second, while a write that
//     keeps failing is repeated less and less often.
//   - Little memory. What is seen to be as it was published is replaced by what was published, before the controller
//     keeps it.
//
// [Probe] finds out, before anything is published, which optional fields the API server keeps.
//
// Nothing is logged here: [Options].Observe is told.
//
// The room is larger than others because all of this stands around one controller, whose state it shares.
package publish
