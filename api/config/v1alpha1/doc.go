// Package v1alpha1 is what an operator may write: how the process runs ([DriverConfig]) and which hardware a made-up
// machine has ([MachineProfile]). API group dragoman.example.com, version v1alpha1.
//
// Both are read strictly from YAML or JSON, and everything that is wrong is reported at once, with its path. The JSON
// Schemas in schema/ are generated from the types and their comments (go test . -update), for editors and for charts.
//
// The room is long because most of it is the list of what a profile may say and of what the API server would refuse.
package v1alpha1
