package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/dragoman/e2e/imagefile"
)

// debianRoot makes a tree with the libraries of the packages, as Debian has them below /lib or /usr/lib.
func debianRoot(t *testing.T, below string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, below, "x86_64-linux-gnu")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
		"libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1", "libunrelated.so.1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content of "+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestImageHasWhatAProgramNeeds(t *testing.T) {
	for _, below := range []string{"lib", "usr/lib"} {
		t.Run(below, func(t *testing.T) {
			entries, err := image(debianRoot(t, below))
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]imagefile.Entry{}
			for _, e := range entries {
				files[e.Name] = e
			}
			// The path that is written into every program.
			if link := files["lib64/ld-linux-x86-64.so.2"].Link; link != "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" {
				t.Errorf("the linker leads to %q", link)
			}
			for _, name := range []string{"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libpthread.so.0"} {
				if e := files["lib/x86_64-linux-gnu/"+name]; string(e.Content) != "content of "+name || e.Mode != 0o755 {
					t.Errorf("%s is %+v", name, e)
				}
			}
			if _, ok := files["lib/x86_64-linux-gnu/libunrelated.so.1"]; ok {
				t.Error("it has a library that nobody asked for")
			}
		})
	}
}

func TestImageSaysWhatIsMissing(t *testing.T) {
	root := debianRoot(t, "lib")
	if err := os.Remove(filepath.Join(root, "lib/x86_64-linux-gnu/libm.so.6")); err != nil {
		t.Fatal(err)
	}
	if _, err := image(root); err == nil || !strings.Contains(err.Error(), "libm.so.6") {
		t.Errorf("the error is %v", err)
	}
}
