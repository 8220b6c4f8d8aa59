package mock

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

//go:embed profiles/*.yaml
var builtIn embed.FS

// BuiltIn returns the names of the built-in profiles, sorted.
func BuiltIn() []string {
	files, err := fs.Glob(builtIn, "profiles/*.yaml") // sorted
	if err != nil {
		return nil
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(path.Base(file), ".yaml")
	}
	return files
}

// source is where a profile comes from: a built-in one or a file.
type source struct {
	name string
	file bool
}

// find returns the built-in profile of that name or else the file with that path.
func find(profile string) (source, error) {
	if _, err := builtIn.ReadFile(builtInFile(profile)); err == nil {
		return source{name: profile}, nil
	}
	_, err := os.Stat(profile)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, fmt.Errorf("machine profile %q is neither built in (%s) nor a file",
			profile, strings.Join(BuiltIn(), ", "))
	}
	if err != nil {
		return source{}, fmt.Errorf("machine profile %q is not built in (%s): %w",
			profile, strings.Join(BuiltIn(), ", "), err)
	}
	return source{name: profile, file: true}, nil
}

func (s source) read() ([]byte, error) {
	if s.file {
		return os.ReadFile(s.name)
	}
	return builtIn.ReadFile(builtInFile(s.name))
}

func builtInFile(name string) string { return "profiles/" + name + ".yaml" }
