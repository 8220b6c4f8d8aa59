#!/bin/sh
# Starts the example driver of Kubernetes (sigs.k8s.io/dra-example-driver, v0.4.0 or later) for dra-sanity, as its chart
# installs it. DRA_EXAMPLE_DRIVER is the program; this builds it:
#   go install sigs.k8s.io/dra-example-driver/cmd/dra-example-kubeletplugin@v0.4.0
# It puts all devices into one slice, which the API server allows for 128. KUBE_API_QPS and KUBE_API_BURST are its
# limits of requests to the API server, by themselves 5 and 10.
exec "${DRA_EXAMPLE_DRIVER:-dra-example-kubeletplugin}" \
  --driver-name "$DRA_SANITY_DRIVER" --node-name "$DRA_SANITY_NODE" --kubeconfig "$DRA_SANITY_KUBECONFIG" \
  --kubelet-registrar-directory-path "$DRA_SANITY_REGISTRY_DIR" \
  --kubelet-plugins-directory-path "${DRA_SANITY_PLUGIN_DIR%/*}" --cdi-root "$DRA_SANITY_CDI_DIR" \
  --pod-uid "$DRA_SANITY_INSTANCE" --num-devices "${DRA_SANITY_DEVICES:-8}"
