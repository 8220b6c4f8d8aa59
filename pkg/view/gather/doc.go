// Package gather writes a support bundle: what somebody who mends a DRA driver needs to know of a cluster, in one
// compressed tar file.
//
// What is in it is chosen so that it can be sent to strangers. Secrets are never read. Of pods there is no environment,
// no arguments and no annotations, and of the configuration that claims have for drivers there is the shape but no
// values, unless all is asked for; what looks like a secret is masked in any case, in logs too (package mask). A README
// in the bundle says what there is, what was left out, and what is missing.
//
// The room has more than 500 lines: there are many kinds of things that a bundle has, in a file each.
package gather
