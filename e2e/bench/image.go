package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
)

// imageSize is how many bytes a node pulls for the image with made-up devices: the one layer of the Dockerfile, which
// has the program alone, compressed as "docker push" does it. The image's description, some hundred bytes, is left out.
func imageSize(program string) (int64, error) {
	file, err := os.Open(program)
	if err != nil {
		return 0, fmt.Errorf(`open the driver's program ("make build" makes it): %w`, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("measure the driver's program: %w", err)
	}
	var size counter
	packed := gzip.NewWriter(&size)
	layer := tar.NewWriter(packed)
	if err := layer.WriteHeader(&tar.Header{Name: "dragoman", Mode: 0o755, Size: info.Size()}); err != nil {
		return 0, fmt.Errorf("pack the image: %w", err)
	}
	if _, err := io.Copy(layer, file); err != nil {
		return 0, fmt.Errorf("pack the image: %w", err)
	}
	if err := layer.Close(); err != nil {
		return 0, fmt.Errorf("pack the image: %w", err)
	}
	if err := packed.Close(); err != nil {
		return 0, fmt.Errorf("pack the image: %w", err)
	}
	return int64(size), nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
