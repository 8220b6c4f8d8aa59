#!/bin/sh
# Starts dragoman for dra-sanity: everything it needs to know is in the environment. PROFILE is its made-up machine.
POD_UID=$DRA_SANITY_INSTANCE exec "${DRAGOMAN:-dragoman}" --config /dev/fd/3 \
  --driver-name "$DRA_SANITY_DRIVER" --node-name "$DRA_SANITY_NODE" --kubeconfig "$DRA_SANITY_KUBECONFIG" \
  --kubelet-dir "$DRA_SANITY_KUBELET_DIR" --cdi-dir "$DRA_SANITY_CDI_DIR" --state-dir "$DRA_SANITY_STATE_DIR" \
  --backend mock --mock-profile "${PROFILE:-example}" 3<<CONFIG
apiVersion: dragoman.example.com/v1alpha1
kind: DriverConfig
httpAddress: "${METRICS:-}" # none: two instances run side by side
CONFIG
