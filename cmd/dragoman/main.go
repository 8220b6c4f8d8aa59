// Dragoman is the node agent: it offers the devices of a node to Kubernetes (Dynamic Resource Allocation), and hands
// them to pods when the kubelet asks. "dragoman --help" lists its settings.
//
// The room has more than 500 lines because half of it is what people meet: flags, the configuration in effect, messages
// about both, and the table of "dragoman devices". What serves a node is run.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from then on a second signal ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
