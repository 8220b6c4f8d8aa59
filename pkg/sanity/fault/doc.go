// Package fault holds the cases of "dra-sanity fault": what can be done to a driver from outside, to its process, its
// directories, its disk and its API server. While a fault lasts the driver may answer with an error. It may not lie,
// lose what it prepared or leave something behind, and when the fault is over the same call has to succeed.
//
// The room is larger than others because it is a list too, a file for each kind of fault and what it takes to do it.
package fault
