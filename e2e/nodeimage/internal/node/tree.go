package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/pkg/sanity/gobuild"
)

// fillTree places what a node has beside Debian's packages. Debian's /bin, /sbin and /lib are links into /usr, so
// nothing may be placed under those names: the layer would replace the links by folders.
func (m Maker) fillTree(ctx context.Context, log *steps.Log, tree string) error {
	if err := os.RemoveAll(tree); err != nil {
		return fmt.Errorf("remove old tree: %w", err)
	}
	kind, err := gobuild.Download(ctx, log, "sigs.k8s.io/kind", m.Set.Kind)
	if err != nil {
		return err
	}
	for _, dir := range []string{"etc", "kind", "usr"} {
		if err := copyTree(filepath.Join(kind.Dir, "images/base/files", dir), filepath.Join(tree, dir)); err != nil {
			return fmt.Errorf("copy kind's base files: %w", err)
		}
	}
	spec, err := m.baseSpec(ctx, log)
	if err != nil {
		return err
	}
	config, err := m.criConfig(tree)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, text string
		mode       fs.FileMode
	}{
		{"etc/containerd/config.toml", config, 0o644},
		{"etc/containerd/cri-base.json", spec, 0o644},
		{"etc/systemd/journald.conf.d/kind.conf", "[Journal]\nReadKMsg=no\n", 0o644},
		{"kind/version", m.Set.Kubernetes, 0o644}, // kind compares it whole: no newline
		{"kind/manifests/default-storage.yaml", storage, 0o644},
		{"usr/local/bin/crictl", crictl, 0o755},
		{"usr/local/bin/nodeimage-entrypoint", entrypoint, 0o755},
	} {
		if err := place(filepath.Join(tree, f.name), f.text, f.mode); err != nil {
			return err
		}
	}
	if err := m.linkBinaries(tree); err != nil {
		return err
	}
	return linkUnits(tree)
}

// linkBinaries places the node's programs; they are linked, not copied, because a second copy of 400 MB helps nobody.
func (m Maker) linkBinaries(tree string) error {
	kube := m.bin(kubernetes(m.Set))
	places := map[string]string{
		"usr/bin/kubeadm": kube, "usr/bin/kubelet": kube, "usr/bin/kubectl": kube,
	}
	for dir, p := range map[string]gobuild.Program{"usr/local/bin": containerd(m.Set), "opt/cni/bin": cni(m.Set)} {
		entries, err := os.ReadDir(m.bin(p))
		if err != nil {
			return fmt.Errorf("list binaries of %s: %w", p.Name, err)
		}
		for _, e := range entries {
			places[filepath.Join(dir, e.Name())] = m.bin(p)
		}
	}
	for name, from := range places {
		to := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("make folder for binaries: %w", err)
		}
		if err := os.Link(filepath.Join(from, filepath.Base(name)), to); err != nil {
			return fmt.Errorf("place binary: %w", err)
		}
	}
	return nil
}

// linkUnits enables the node's services the way systemctl would, which here could not run.
func linkUnits(tree string) error {
	const units = "etc/systemd/system/"
	links := map[string]string{
		"usr/sbin/init":                  "/usr/lib/systemd/systemd",
		units + "systemd-binfmt.service": "/dev/null", // it would register things with the host's kernel
	}
	for _, u := range []string{"kubelet", "containerd", "undo-mount-hacks"} {
		links[units+"multi-user.target.wants/"+u+".service"] = "/" + units + u + ".service"
	}
	for name, target := range links {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make folder for link: %w", err)
		}
		if err := os.Symlink(target, path); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	for _, dir := range []string{"etc/kubernetes/manifests", "var/lib/containerd"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	return nil
}

// criConfig is kind's containerd configuration with our sandbox image, and without negative OOM scores: a host without
// CAP_SYS_RESOURCE refuses those, and no pod would start.
func (m Maker) criConfig(tree string) (string, error) {
	b, err := os.ReadFile(filepath.Join(tree, "etc/containerd/config.toml"))
	if err != nil {
		return "", fmt.Errorf("read kind's containerd config: %w", err)
	}
	text := string(b)
	for _, edit := range []struct{ from, to string }{
		{`restrict_oom_score_adj = false`, `restrict_oom_score_adj = true`},
		{`sandbox_image = "[^"]*"`, `sandbox_image = "` + m.Set.PauseImage() + `"`},
	} {
		re := regexp.MustCompile(edit.from)
		if n := len(re.FindAllString(text, -1)); n != 1 {
			return "", fmt.Errorf("edit kind's containerd config: %q is there %d times, not once", edit.from, n)
		}
		text = re.ReplaceAllLiteralString(text, edit.to)
	}
	return text, nil
}

// baseSpec is the container spec that kind's containerd configuration names: containerd's default with kind's hook, and
// without resource limits, which are the node's to set.
func (m Maker) baseSpec(ctx context.Context, log *steps.Log) (string, error) {
	out, err := log.Output(steps.Command(ctx, filepath.Join(m.bin(containerd(m.Set)), "ctr"), "oci", "spec"))
	if err != nil {
		return "", err
	}
	return editSpec(out)
}

func editSpec(in []byte) (string, error) {
	var spec map[string]any
	dec := json.NewDecoder(strings.NewReader(string(in)))
	dec.UseNumber()
	if err := dec.Decode(&spec); err != nil {
		return "", fmt.Errorf("read ctr's container spec: %w", err)
	}
	hooks, ok := spec["hooks"].(map[string]any)
	if !ok {
		hooks = map[string]any{}
	}
	list, _ := hooks["createContainer"].([]any)
	hooks["createContainer"] = append(list, map[string]any{"path": "/kind/bin/mount-product-files.sh"})
	spec["hooks"] = hooks
	if process, ok := spec["process"].(map[string]any); ok {
		delete(process, "rlimits")
	}
	out, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("write container spec: %w", err)
	}
	return string(out), nil
}

// copyTree copies files out of the read-only module cache with the modes of kind's own image.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		mode := fs.FileMode(0o644)
		if filepath.Base(filepath.Dir(target)) == "bin" {
			mode = 0o755
		}
		return place(target, string(text), mode)
	})
}

// place writes a file over whatever has its name.
func place(path, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder of %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return fmt.Errorf("place %s: %w", path, err)
	}
	return os.Chmod(path, mode)
}
