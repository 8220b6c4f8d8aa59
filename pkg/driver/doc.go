// Package driver stands between the kubelet and this node's devices, and between the devices and the API server. It is
// where the two rivers meet: what the inventory sees goes to the publisher, and what the kubelet asks goes through
// claim (decide) to prepare (do). It is the only door to the DRA helper library, k8s.io/dynamic-resource-allocation/
// kubeletplugin.
//
// # What it adds to the helper
//
//   - Claims of one call are read side by side, without a client-side rate limit, and with patience while the API
//     server is in trouble: the kubelet answers an error with a pause of 60 to 90 s (fetch.go).
//   - One answer for each claim, also when a claim cannot be read or its handling panics (plugin.go).
//   - Slices are looked at again when the kubelet registers the driver, because a kubelet that starts deletes them; why
//     the kubelet did not register it can be told (calls.go).
//   - Calls in progress are finished before it stops; the helper alone would cut them (driver.go).
//   - The sockets of another instance are never taken away, those of a killed one are removed (sockets.go).
//   - The kubelet is told how the devices are, for the status of pods, and again and again; what nobody has looked at
//     for too long is unknown (health.go).
//   - The status of claims shows their devices, and how they are, without that a call waits for it (shown.go).
//   - What containers are told about their devices in files is complete, and nothing of it stays behind. These files
//     are the helper's: one that somebody removes comes back when the kubelet prepares the claim again (metadata.go).
//   - What the kubelet forgot is taken back: records of claims that are gone for more than two minutes; what prepared
//     claims lost is made again, CDI files within seconds (reconcile.go).
//   - Sockets that were removed are made again, while calls go on (keep.go), and only root may speak on them
//     (listener.go).
//   - Claims that cannot be prepared get an event, one for each sentence (events.go).
//
// # What a failure means
//
// Only a failure of the sockets' servers, another process in their place, a directory that was removed behind its
// mount, or a backend that needs a new process ([device.ErrNeedsRestart]) ends [Driver.Run]; who runs it ends the
// process with an exit code that is not 0. Everything else is an answer to the kubelet, which repeats the call, or a
// line of the log and a later attempt.
//
// # Rights
//
// Of the API server it needs: get on resourceclaims; and get on nodes only if the process does not run in a pod. With
// create on events (events.k8s.io) it tells users of a claim why it cannot be prepared; without, the pod's events do.
// With patch on resourceclaims/status, and since Kubernetes 1.36 associated-node:patch on resourceclaims/driver for the
// driver's name, the status of claims shows their devices; without, it does not, and nothing else is different.
//
// # Size
//
// The room has more than 500 lines: a file for each thing above, which have the helper in common and would have to be
// exported to each other if they were rooms of their own.
package driver
