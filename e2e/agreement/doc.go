// Package agreement tests that kubectl-dra and the scheduler say the same.
//
// Made-up machines, devices and claims go to a real API server, and a pod that asks for some of them to the real
// kube-scheduler of the same release. Before, kubectl-dra was asked whether the pod can have what it wants. Both must
// say yes, or both no; and what either of them hands out must satisfy a checker that knows neither of the two.
//
// There is no kubelet and no controller: what the controller of resource claims does, the test does.
package agreement
