//go:build cgo

// Package sharing sets a GPU up for the way in which its users share it: what a configuration asks for ([WantOf]), the
// compute mode and the time slice ([Keeper]), and daemons of NVIDIA's Multi-Process Service ([MPS]).
//
// What was before a change is written down before it, in files that end with the boot, as the settings do, and comes
// back when the claim is gone. What nobody asked for is not touched, and what somebody else changed meanwhile stays.
//
// The room is larger than others because a daemon that outlives its driver's process needs a program of its own around
// it ([RunDaemon]): in other namespaces, another root directory and another control group.
package sharing
