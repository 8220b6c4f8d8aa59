// Command glibc makes an image with the GNU C library and nothing else, as an archive that "docker load" reads. The
// driver's image for NVIDIA GPUs is built on it where there is no registry:
//
//	glibc -o glibc.tar && docker load -i glibc.tar
//	docker build --target nvml-prebuilt --build-arg GLIBC_IMAGE=dragoman-glibc:12 .
//
// The library is that of the machine, which is the one that programs built here need, where it is Debian's, and that
// of Debian's packages otherwise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"syscall"

	"example.com/dragoman/e2e/debian"
	"example.com/dragoman/e2e/imagefile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("glibc", flag.ContinueOnError)
	output := flags.String("o", "glibc.tar", "the archive to write")
	tag := flags.String("tag", "dragoman-glibc:12", "the name of the image in it")
	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := run(ctx, *output, *tag); err != nil {
		fmt.Fprintln(os.Stderr, "glibc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, output, tag string) error {
	entries, err := image("/")
	if err != nil {
		dir, err := os.MkdirTemp("", "glibc-")
		if err != nil {
			return fmt.Errorf("make a directory for the packages: %w", err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // it is a temporary folder
		root, err := debian.Unpack(ctx, dir, "libc6", "libgcc-s1")
		if err != nil {
			return fmt.Errorf("fetch the Debian packages of the C library: %w", err)
		}
		if entries, err = image(root); err != nil {
			return err
		}
	}
	archive, err := imagefile.Archive(tag, entries, map[string]any{})
	if err != nil {
		return fmt.Errorf("make the image %s: %w", tag, err)
	}
	return imagefile.Write(output, archive)
}

const (
	directory = "lib/x86_64-linux-gnu"
	linker    = "ld-linux-x86-64.so.2"
)

// image returns the files of the image, from the root of a Debian system or of unpacked packages: the dynamic linker,
// what a program of Go with cgo is linked to, and what NVIDIA's libraries are.
func image(root string) ([]imagefile.Entry, error) {
	entries := []imagefile.Entry{
		{Name: "etc/", Mode: 0o755},
		{Name: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/sbin/nologin\n")},
		{Name: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\n")},
		// Without it the resolver of Go asks DNS before it looks into /etc/hosts.
		{Name: "etc/nsswitch.conf", Mode: 0o644, Content: []byte("hosts: files dns\n")},
		{Name: "lib/", Mode: 0o755},
		{Name: directory + "/", Mode: 0o755},
		{Name: "lib64/", Mode: 0o755},
		{Name: "lib64/" + linker, Mode: 0o777, Link: path.Join("..", directory, linker)},
		{Name: "run/", Mode: 0o755},
		{Name: "tmp/", Mode: 0o1777},
	}
	for _, name := range []string{
		linker, "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
		"libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1",
	} {
		content, err := os.ReadFile(filepath.Join(root, directory, name))
		if errors.Is(err, os.ErrNotExist) {
			content, err = os.ReadFile(filepath.Join(root, "usr", directory, name))
		}
		if err != nil {
			return nil, fmt.Errorf("read the C library: %w", err)
		}
		entries = append(entries, imagefile.Entry{Name: path.Join(directory, name), Mode: 0o755, Content: content})
	}
	return entries, nil
}
