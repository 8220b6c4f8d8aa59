// Package apiserver runs a throw-away Kubernetes API server: etcd and kube-apiserver on loopback, with certificates of
// their own, and nothing else of a cluster. It is a real one: validation, defaulting, RBAC, admission policies, service
// account tokens and feature gates are those of the version that is asked for.
//
// Any number of them run side by side: etcd is behind a socket in a folder of its own, and no port is guessed.
//
// There is no controller manager: nobody deletes what belongs to a deleted owner, namespaces stay in the state
// Terminating, no claims are made for pods.
//
// The room is larger than others because finding, building, certifying, starting and ending two programs of other
// people are a file each, of no use apart.
package apiserver
