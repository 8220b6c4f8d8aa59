// Package xid says what the error numbers mean that NVIDIA's driver gives to what goes wrong with a GPU (XIDs): whether
// somebody may still be given the GPU, and a sentence for people. It is a table and knows no hardware.
//
// Source: NVIDIA's Xid Catalog (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html), where the immediate
// action RESET_GPU or more makes an error fatal, and for those that are the fault of a program the list in
// kubernetes-sigs/dra-driver-nvidia-gpu: 13, 31, 43, 45, 68 and 109. What a GPU needs to recover from an error it says
// itself, in newer drivers; this table is what is known before, and where the driver cannot say.
package xid
