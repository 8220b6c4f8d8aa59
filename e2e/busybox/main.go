// Command busybox makes the image of the example pods, busybox:1.36, as an archive that "docker load", "ctr images
// import" and "kind load image-archive" read. It needs no registry: the program is Debian's busybox-static, taken from
// the machine where it is installed and from the package otherwise. The tag is what the examples ask for; the applets
// that they use are the same in every version.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"example.com/dragoman/e2e/imagefile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("busybox", flag.ContinueOnError)
	output := flags.String("o", "busybox.tar", "the archive to write")
	tag := flags.String("tag", "busybox:1.36", "the name of the image in it")
	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := run(ctx, *output, *tag); err != nil {
		fmt.Fprintln(os.Stderr, "busybox:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, output, tag string) error {
	program, applets, err := find(ctx)
	if err != nil {
		return err
	}
	archive, err := image(program, applets, tag)
	if err != nil {
		return fmt.Errorf("make the image %s: %w", tag, err)
	}
	return imagefile.Write(output, archive)
}
