// Package gobuild builds programs of other people's Go modules from the module proxy alone: no git, no C compiler.
//
// "go install module@version" refuses modules whose go.mod replaces or excludes others. So each program gets a main
// module of our own that requires the wanted one, with the go directive of the wanted module (it decides language
// version and GODEBUG defaults).
package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/modfile"
)

// Program is one go build: one or more main packages of a module.
type Program struct {
	Name    string // also the name of its folder and log
	Module  string
	Version string
	With    []string // further modules to require at the same version
	Main    string   // source of a main package of our own, instead of Packages
	// Packages to build; each makes a binary named after its last element.
	Packages []string
	// Binary names the result of a single package whose own name would be another.
	Binary  string
	Tags    string
	LDFlags string
	// GoMod makes the go.mod out of the upstream one when requiring Module is not enough.
	GoMod func(upstream []byte) ([]byte, error)
}

// Builder runs go builds. Modules and compiled packages go to the user's usual Go caches, so a later build of the same
// program only links.
type Builder struct {
	// Work holds the main modules, one folder for each program and version.
	Work string
}

// Build puts the program's binaries into the folder out. What the go command says goes to log.
func (b Builder) Build(ctx context.Context, log io.Writer, p Program, out string) error {
	dir := filepath.Join(b.Work, p.Name+"-"+p.Version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make build folder: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make folder for binaries: %w", err)
	}
	if err := b.writeModule(ctx, log, p, dir); err != nil {
		return err
	}
	target := out + string(filepath.Separator)
	if p.Binary != "" {
		target = filepath.Join(out, p.Binary)
	}
	args := []string{"build", "-tags", p.Tags, "-ldflags", "-s -w " + p.LDFlags, "-o", target}
	packages := p.Packages
	if p.Main != "" {
		packages = []string{"."}
	}
	if _, err := run(ctx, log, dir, append(args, packages...)...); err != nil {
		return fmt.Errorf("build %s %s: %w", p.Name, p.Version, err)
	}
	return nil
}

func (b Builder) writeModule(ctx context.Context, log io.Writer, p Program, dir string) error {
	gomod := []byte("module build.local/" + p.Name + "\n\ngo 1.24\n")
	if p.Module != "" {
		m, err := Download(ctx, log, p.Module, p.Version)
		if err != nil {
			return err
		}
		upstream, err := os.ReadFile(m.GoMod)
		if err != nil {
			return fmt.Errorf("read upstream go.mod: %w", err)
		}
		if p.GoMod == nil {
			p.GoMod = func(up []byte) ([]byte, error) { return RequireMod(up, p) }
		}
		if gomod, err = p.GoMod(upstream); err != nil {
			return fmt.Errorf("make go.mod for %s: %w", p.Name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), gomod, 0o644); err != nil {
		return fmt.Errorf("write go.mod: %w", err)
	}
	if p.Main == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(p.Main), 0o644); err != nil {
		return fmt.Errorf("write main.go: %w", err)
	}
	return nil
}

// RequireMod is the go.mod of a main module that only requires the program's modules.
func RequireMod(upstream []byte, p Program) ([]byte, error) {
	up, err := modfile.ParseLax("go.mod", upstream, nil)
	if err != nil {
		return nil, fmt.Errorf("parse upstream go.mod: %w", err)
	}
	mod, err := newMod(p.Name, up)
	if err != nil {
		return nil, err
	}
	for _, m := range append([]string{p.Module}, p.With...) {
		if err := mod.AddRequire(m, p.Version); err != nil {
			return nil, fmt.Errorf("require %s: %w", m, err)
		}
	}
	return mod.Format()
}

// newMod starts a main module with the go and godebug lines of the upstream one.
func newMod(name string, up *modfile.File) (*modfile.File, error) {
	mod := new(modfile.File)
	if up.Go == nil {
		return nil, errors.New("upstream go.mod has no go directive")
	}
	if err := errors.Join(mod.AddModuleStmt("build.local/"+name), mod.AddGoStmt(up.Go.Version)); err != nil {
		return nil, fmt.Errorf("start go.mod: %w", err)
	}
	for _, g := range up.Godebug {
		if err := mod.AddGodebug(g.Key, g.Value); err != nil {
			return nil, fmt.Errorf("copy godebug: %w", err)
		}
	}
	return mod, nil
}

// Module is where a downloaded module lies.
type Module struct{ Dir, GoMod string }

// Download brings a module into the module cache.
func Download(ctx context.Context, log io.Writer, module, version string) (Module, error) {
	out, err := run(ctx, log, os.TempDir(), "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return Module{}, fmt.Errorf("download module %s@%s: %w", module, version, err)
	}
	var m Module
	if err := json.Unmarshal(out, &m); err != nil {
		return Module{}, fmt.Errorf("read go mod download's answer: %w", err)
	}
	return m, nil
}

// run runs the go command away from the settings of whatever module or workspace the user stands in, and returns what
// it prints. When ctx ends it is asked to end, so that it can clean up, and ten seconds later it is killed.
func run(ctx context.Context, log io.Writer, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false -mod=mod")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, log), log
	if _, err := fmt.Fprintf(log, "$ %s\n", strings.Join(cmd.Args, " ")); err != nil {
		return nil, fmt.Errorf("write to the log: %w", err)
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run go: %w; needed: Go on PATH and a module proxy (go env GOPROXY), the modules are "+
			"public; running again goes on from what is built", err)
	}
	return out.Bytes(), nil
}
