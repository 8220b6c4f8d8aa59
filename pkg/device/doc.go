// Package device is the hardware contract: what a kind of hardware must be able to do so that dragoman can offer it
// to pods. It is the only vocabulary between the rooms that talk to Kubernetes and the folders that talk to devices.
//
// # Adding a backend
//
//  1. Make a folder below this one with a type that implements [Backend], and [Watcher] or [Sweeper] where the
//     hardware has something to watch or to sweep.
//  2. Add its constructor to the table in cmd/dragoman/backends.go.
//  3. Run devicetest.Run against it.
//
// Nothing else needs to change. The package speaks Kubernetes' words (k8s.io/api/resource/v1) for what a device is and
// which one was allocated, and CDI's words (specs-go) for what a container gets; it has no third vocabulary between.
package device
