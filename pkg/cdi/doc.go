// Package cdi keeps this driver's CDI spec files: one per claim, from which the container runtime learns what a
// container gets that uses the claim's devices. It is the only door to the CDI library. The room knows nothing of
// claims but their UID, keeps nothing in memory, and does not log.
//
// A file appears whole or not at all: it is written beside its place, in the same directory, and renamed. The directory
// matters: runtimes with a CDI library up to 1.0 notice a new file only by the rename event of the unfinished one.
// The unfinished file's name has no suffix that a runtime reads, and is fixed per claim, so that the next Write of the
// claim replaces what an interrupted one left, and Remove removes it.
//
// Nothing is flushed to disk and the CDI library's cache is not used: it reads every file of the directory again
// whenever one changes.
package cdi
