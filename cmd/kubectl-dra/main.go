// Kubectl-dra is kubectl's plugin "kubectl dra": who has which device of a cluster, and why does somebody wait for one.
// It works with any DRA driver, because it reads what the scheduler reads. "kubectl dra --help" says how.
//
// The room has more than 500 lines because most of it is what people meet: flags, tables, screens, help.
package main

import (
	"context"
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what kubeconfig files of kubectl may ask for
)

func main() {
	os.Exit(untilSignal(func(ctx context.Context) int {
		return run(ctx, invocation{
			name:    os.Args[0],
			args:    os.Args[1:],
			streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
			getenv:  os.Getenv,
			logTo:   logTo,
		})
	}))
}
