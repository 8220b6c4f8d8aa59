// Package why says why a pod or a claim waits for devices, or why it got what it got.
//
// The verdict always comes from the scheduler's own allocator (pkg/view/allocate), run on what the cluster holds now.
// What this package adds only explains it: for each request a funnel of devices, whose numbers add up, by nodes with
// the same story; what stands in the way outside allocation; and which one change would help, each tried with the
// allocator before it is said. Where the funnel cannot explain a verdict, the answer says so.
//
// It is pure, and the same cluster gives the same answer.
//
// The room has many more than 500 lines, in a file for each stage of the way to a device: they share one examination,
// and an answer is made of what all of them found.
package why
