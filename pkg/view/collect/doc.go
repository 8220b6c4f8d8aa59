// Package collect looks at a cluster: it asks an API server for what package view needs, and nothing else.
//
// Lists are asked for side by side and come in pages; what nobody reads of an object is dropped as a page arrives, so
// that a look at a large cluster fits into the memory of a small machine. What the user may not see is left out and
// said; only who sees nothing at all gets an error.
//
// It reads and never writes, and it never reads Secrets.
package collect
