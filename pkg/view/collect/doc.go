// Package collect looks at a cluster: it asks an API server for what package view needs, and nothing else.
//
// Lists are asked for side by side and come in pages; what nobody reads of an object is dropped as a page arrives, so
// that a look at a large cluster fits into the memory of a small machine. What the user may not see is left out and
// said; only who sees nothing at all gets an error.
//
// It reads and never writes, and it never reads Secrets. That is why it does not use ResourcePoolStatusRequests (alpha
// since Kubernetes 1.36), with which those could learn how many devices of a pool are taken who may not see the claims
// of others: they are made and deleted, which takes rights on objects of the whole cluster that fewer people have than
// may list claims; and they count, where here is said which device is taken. Unseen says what is not known instead.
//
// The room has more than 500 lines: looking, watching, and what is kept of each kind have files of their own.
package collect
