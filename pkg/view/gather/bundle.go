package gather

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

// folder is the one that everything is in.
const folder = "dra-bundle"

// bundle is a compressed tar file while it is written. The same files in the same order make the same bytes.
type bundle struct {
	compressed *gzip.Writer
	files      *tar.Writer
	time       time.Time
	names      []string
}

func newBundle(to io.Writer, at time.Time) *bundle {
	compressed := gzip.NewWriter(to)
	return &bundle{compressed: compressed, files: tar.NewWriter(compressed), time: at.UTC().Truncate(time.Second)}
}

// add writes a file. Names are made of what comes from a cluster, so they are held to the folder.
func (b *bundle) add(name string, content []byte) error {
	name = path.Join(folder, path.Clean("/"+name))
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: b.time,
	}
	if err := b.files.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s into the bundle: %w", name, err)
	}
	if _, err := b.files.Write(content); err != nil {
		return fmt.Errorf("write %s into the bundle: %w", name, err)
	}
	b.names = append(b.names, name)
	return nil
}

func (b *bundle) close() error {
	if err := errors.Join(b.files.Close(), b.compressed.Close()); err != nil {
		return fmt.Errorf("end the bundle: %w", err)
	}
	return nil
}
