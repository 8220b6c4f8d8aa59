package apiserver

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// BenchmarkKubectlDRA calls the program, as somebody at a terminal does, on the cluster of BenchmarkLook: 10,000
// devices on 1,000 nodes, 5,000 claims and pods. It says how long a call takes and how much memory it has at most.
func BenchmarkKubectlDRA(b *testing.B) {
	ctx, stop := context.WithTimeout(b.Context(), 20*time.Minute)
	defer stop()
	program := kubectlDRA(b)
	kubeconfig, _ := startFilled(ctx, b, apiserver.DefaultVersion)
	bundle := filepath.Join(b.TempDir(), "bundle.tar.gz")
	for _, c := range []struct{ name, args, want string }{
		{"devices", "devices", "10,000 devices on 1,000 nodes: 5,000 in use, 5,000 free"},
		{"devices -o json", "devices -o json", `"devices": 10000`},
		{"devices --free", "devices --free", "(5,000 shown)"},
		{"why pod", "why pod/train-0001", "train-0001"},
		{"gather", "gather -o " + bundle, bundle},
	} {
		b.Run(c.name, func(b *testing.B) {
			most := int64(0)
			for b.Loop() {
				call := exec.CommandContext(ctx, program, append(strings.Fields(c.args), "--kubeconfig", kubeconfig)...)
				var out, said bytes.Buffer
				call.Stdout, call.Stderr = &out, &said
				if err := call.Run(); err != nil || !strings.Contains(out.String(), c.want) {
					b.Fatalf("%v: the answer lacks %q; it ends with %q; stderr: %s", err, c.want, tail(out.String()), &said)
				}
				if usage, ok := call.ProcessState.SysUsage().(*syscall.Rusage); ok {
					most = max(most, usage.Maxrss)
				}
			}
			b.ReportMetric(float64(most)/1024, "MiB-at-most")
		})
	}
}

// tail is the end of a long answer.
func tail(text string) string { return text[max(0, len(text)-300):] }
