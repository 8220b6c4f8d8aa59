// Package failpoint lets tests stop the program, or make a system call fail, at a chosen moment: between any two system
// calls that change something. It does so only in programs built with the tag "failpoints". In all others its functions
// are empty, take no arguments apart and are compiled away; a test proves that nothing of them is in the driver.
//
// # How a test chooses the moment
//
// DRAGOMAN_FAILPOINTS names a file with one line: <claim UID> <action> <n>. It is read when the driver begins to work
// on a claim, so that a test can change it between two calls. The action happens at the n-th point that counts for it,
// beginning with 1; 0 is never. Only points in the goroutine that works on the claim count, so that what goes on beside
// does not change the number. With * in place of the UID all points of the process count, from its start.
//
//	kill    the process dies; counts points before and after each change
//	enospc  from this point on all that needs space fails; counts what needs space
//	erofs   from this point on all that changes something fails; counts changes
//	eio     this one system call fails; counts changes and reads
//
// DRAGOMAN_FAILPOINTS_TRACE names a file to which the name of each point that counts is appended.
package failpoint
