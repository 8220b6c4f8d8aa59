// Package driverroot finds the files of an NVIDIA driver below the root of its installation: "/" on a node with the
// driver in its own file system, or wherever that root is mounted, for example /run/nvidia/driver or /driver-root.
//
// A symbolic link is followed as a program would follow it whose root directory this is; one in a mounted root that
// begins with "/" would lead to the wrong file otherwise. Only regular files count: a directory with the name of the
// library, which a bind mount of something that is not there leaves behind, has hidden the right one before
// (kubernetes-sigs/dra-driver-nvidia-gpu #1272, #1275).
package driverroot
