// Package validate says of objects in files what an API server would say of them, and what goes wrong later:
// expressions that do not compile, requests that nobody names rightly, configurations that the driver would refuse when
// a pod starts.
//
// The rules are those of Kubernetes (pkg/apis/resource/validation and pkg/registry/resource of 1.34 and 1.37). Those
// that the API's types carry themselves are asked for in k8s.io/api/resource/v1; the others are written out here, and a
// test holds them to what real API servers say. Configurations are judged by the function that the driver and its
// webhook use.
//
// The room is larger than others because the API has that many rules; each file is one kind of object or one part of
// some.
package validate
