package node

import _ "embed"

// The small files that are ours in a node. They are part of the recipe, so all of them go into the image's key.
var (
	//go:embed assets/entrypoint.sh
	entrypoint string
	//go:embed assets/crictl.sh
	crictl string
	//go:embed assets/storage.yaml
	storage string
	//go:embed assets/coredns.go.txt
	coreDNSMain string
	//go:embed assets/pause.go.txt
	pauseMain string
)
