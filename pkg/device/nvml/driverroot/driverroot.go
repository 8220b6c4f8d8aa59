package driverroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mostLinks is how many symbolic links one path may lead through, as many as for the kernel (path_resolution(7)).
const mostLinks = 40

// Root is the root directory of a driver installation as this process sees it. The zero value is "/".
type Root string

// Path returns where a file of the root is for this process.
func (r Root) Path(inRoot string) string {
	return filepath.Join(string(r.orSlash()), inRoot)
}

func (r Root) orSlash() Root {
	if r == "" {
		return "/"
	}
	return r
}

// Libraries returns the regular files that a program in the root may get for the name of a shared library, the best
// first, as paths for this process without symbolic links, and the directories of the root that were searched.
func (r Root) Libraries(name string) (found, searched []string) {
	searched = libraryDirs()
	candidates := make([]string, 0, len(searched))
	for _, dir := range searched {
		candidates = append(candidates, path.Join(dir, name))
	}
	cached, err := r.cached(name)
	if err == nil {
		searched = append(searched, ldCache)
		candidates = append(candidates, cached...)
	}
	return r.regular(candidates), searched
}

// Program returns the path for this process of a program of the root, without symbolic links, and the directories of
// the root that were searched; the path is empty if it is in none of them.
func (r Root) Program(name string) (found string, searched []string) {
	searched = programDirs()
	var candidates []string
	for _, dir := range searched {
		candidates = append(candidates, path.Join(dir, name))
	}
	for _, file := range r.regular(candidates) {
		if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 {
			return file, searched
		}
	}
	return "", searched
}

// regular returns those of the paths in the root that are regular files, resolved, each once.
func (r Root) regular(candidates []string) []string {
	var files []string
	for _, candidate := range candidates {
		inRoot, err := r.Resolve(candidate)
		if err != nil {
			continue
		}
		file := r.Path(inRoot)
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// Resolve follows the symbolic links in a path of the root as if the root were "/", and returns what they lead to,
// again as a path of the root. Nothing leads out of the root.
func (r Root) Resolve(inRoot string) (string, error) {
	resolved, links := "/", 0
	left := parts(inRoot)
	for len(left) > 0 {
		next := left[0]
		left = left[1:]
		if next == ".." {
			resolved = path.Dir(resolved)
			continue
		}
		at := path.Join(resolved, next)
		target, err := os.Readlink(r.Path(at))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("resolve %s below %s: %w", inRoot, r.orSlash(), fs.ErrNotExist)
		case err != nil: // no symbolic link
			resolved = at
			continue
		}
		if links++; links > mostLinks {
			return "", fmt.Errorf("resolve %s below %s: more than %d symbolic links", inRoot, r.orSlash(), mostLinks)
		}
		if path.IsAbs(target) {
			resolved = "/"
		}
		left = append(parts(target), left...)
	}
	if _, err := os.Lstat(r.Path(resolved)); err != nil {
		return "", fmt.Errorf("resolve %s below %s: %w", inRoot, r.orSlash(), err)
	}
	return resolved, nil
}

// parts returns the names in a path, without those that change nothing.
func parts(p string) []string {
	return slices.DeleteFunc(strings.Split(p, "/"), func(part string) bool { return part == "" || part == "." })
}

// libraryDirs are the directories of a root in which drivers put their libraries: those of distributions, and of
// Google's, Talos' and NixOS' own layout.
func libraryDirs() []string {
	return []string{
		"/",
		"/usr/lib64",
		"/usr/lib/x86_64-linux-gnu",
		"/usr/lib/aarch64-linux-gnu",
		"/usr/lib/x86_64-linux-gnu/nvidia/current",
		"/usr/lib/aarch64-linux-gnu/nvidia/current",
		"/lib64",
		"/lib/x86_64-linux-gnu",
		"/lib/aarch64-linux-gnu",
		"/usr/lib",
		"/usr/local/nvidia/lib64",
		"/usr/local/glibc/usr/lib",
		"/run/opengl-driver/lib",
	}
}

func programDirs() []string {
	return []string{
		"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/opt/bin", "/usr/local/bin", "/usr/local/nvidia/bin",
		"/run/opengl-driver/bin",
	}
}
