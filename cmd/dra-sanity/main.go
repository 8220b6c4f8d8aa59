// Dra-sanity stands where the kubelet stands and looks whether a DRA driver does what is expected of it: any driver,
// by its sockets, its files and its objects in a real API server. "dra-sanity --help" says how.
//
// The room has more than 500 lines because most of it is what people meet: flags, what they need of each other, help.
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
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
