package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestWordsForTheShell completes what somebody has typed before TAB in front of a recorded cluster.
func TestWordsForTheShell(t *testing.T) {
	const from = " --from testdata/recorded/team/cluster.yaml "
	for name, c := range map[string]struct {
		typed string // the last word is what is completed, _ is nothing
		want  string
	}{
		"commands":                  {"w", "why"},
		"what why is asked about":   {"why _", "pod/ claim/"},
		"pods of the namespace":     {"why" + from + "-n team-a pod/", "pod/train-0 pod/train-1 pod/train-2"},
		"pods, with kubectl's word": {"why" + from + "-n team-b po/", "po/infer-0 po/infer-1"},
		"claims of the namespace":   {"why" + from + "-n team-b claim/", "claim/shared-l4"},
		"nodes":                     {"devices" + from + "--node _", "node-a node-b node-c"},
		"drivers":                   {"devices" + from + "--driver _", "gpu.example.com"},
		"classes":                   {"devices" + from + "--class _", "gpu.example.com"},
		"namespaces":                {"devices" + from + "-n _", "monitoring team-a team-b"},
		"attributes": {
			"devices" + from + "--attributes _", "all architecture memory numaNode pcieRoot productName type",
		},
		"one more attribute":          {"devices" + from + "--attributes type,p", "type,pcieRoot type,productName"},
		"formats":                     {"devices -o _", "table wide json yaml"},
		"profiles of machines":        {"simulate --machines _", "dgx-h100 example l4-4x mixed showcase"},
		"numbers of pods":             {"simulate --replicas _", "max"},
		"versions, to simulate":       {"simulate --kubernetes _", "1.34 1.35 1.36 1.37"},
		"versions, to validate":       {"validate --kubernetes _", "1.34 1.35 1.36 1.37"},
		"ends of names of manifests":  {"validate -f _", "yaml yml json"},
		"ends of names, bundles, too": {"why pod/a --from _", "yaml yml json tar.gz tgz"},
		"shells":                      {"completion _", "bash zsh fish powershell"},
		"commands that help knows":    {"help v", "validate version"},
		"nothing after a command":     {"version _", ""},
		"nothing after a pod":         {"why pod/a _", ""},
		"nothing of a lost cluster":   {"devices --server http://127.0.0.1:1 --node _", ""},
	} {
		t.Run(name, func(t *testing.T) {
			words := strings.Fields(c.typed)
			if last := &words[len(words)-1]; *last == "_" {
				*last = ""
			}
			out, _, code := called(t, append([]string{"__complete"}, words...)...)
			var got []string
			for line := range strings.Lines(out) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				if !strings.HasPrefix(word, ":") && strings.HasPrefix(word, words[len(words)-1]) { // as shells do
					got = append(got, word)
				}
			}
			if strings.Join(got, " ") != c.want || code != exitYes {
				t.Errorf("completes with %q, exit code %d; want %s", got, code, c.want)
			}
		})
	}
}

// TestNoFlagOfOursIsCompletedWithFilesThatItDoesNotTake: what takes a value and is no file has words, or none.
func TestNoFlagOfOursIsCompletedWithFilesThatItDoesNotTake(t *testing.T) {
	files := map[string]bool{"from": true, "filename": true, "slices": true, "output": true, "machines": true}
	for _, command := range commands(t) {
		command.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" || f.Value.Type() == "bool" || files[f.Name] {
				return
			}
			out, _, _ := called(t, "__complete", command.Name(), "--server", "http://127.0.0.1:1", "--"+f.Name, "")
			if !strings.HasSuffix(strings.TrimSpace(out), ":4") || cobra.ShellCompDirectiveNoFileComp != 4 {
				t.Errorf("%s --%s is completed with files: %q", command.Name(), f.Name, out)
			}
		})
	}
}
