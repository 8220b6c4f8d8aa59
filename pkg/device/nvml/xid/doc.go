// Package xid says what the error numbers mean that NVIDIA's driver gives to what goes wrong with a GPU (XIDs): whether
// somebody may still be given the GPU, and a sentence for people. It is a table and knows no hardware.
//
// Source: NVIDIA's "XID Errors" (docs.nvidia.com/deploy/xid-errors), and for those that are the fault of a program the
// list in kubernetes-sigs/dra-driver-nvidia-gpu: 13, 31, 43, 45, 68 and 109.
package xid
