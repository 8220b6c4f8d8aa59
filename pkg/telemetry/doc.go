// Package telemetry tells machines how the process is doing: metrics in a registry of its own, and over HTTP
// /metrics, /healthz (the process can do its work: restart it if not) and /readyz (others may rely on it).
//
// And Go's profiles, on another address that only this machine can reach, for those who look where time and memory go.
//
// It knows nothing of Kubernetes or of devices. Other rooms offer callbacks, and cmd/dragoman ties them to the methods
// of [Metrics]. All label values are from closed sets: there are no names of pods, claims or devices, whose number has
// no bound.
package telemetry
