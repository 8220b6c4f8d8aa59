package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestRecordedClusters goes through what people would type in front of a cluster, and compares with what they saw when
// the file was written. Each folder of testdata/recorded has objects of a cluster, made up or dumped, in cluster.yaml
// or a bundle, and session.txt:
//
//	$ kubectl dra devices --from cluster.yaml
//	what is printed on stdout
//	! what is printed on stderr
//	[exit 1]
//
// For another cluster make a folder, write the lines that begin with "$" and run the test with -update.
func TestRecordedClusters(t *testing.T) {
	sessions, err := filepath.Glob("testdata/recorded/*/session.txt")
	if err != nil || len(sessions) < 2 {
		t.Fatalf("there are %d recorded clusters, error %v", len(sessions), err)
	}
	for _, path := range sessions {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(filepath.Dir(path))
			now := replay(t, string(written))
			if *update {
				if err := os.WriteFile(filepath.Join(here, path), []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(written), now); diff != "" {
				t.Errorf("%s differs (- file, + now):\n%s", path, diff)
			}
		})
	}
}

// replay runs the commands of a session and returns it with what they print now. Comments, which begin with "#", stay.
func replay(t *testing.T, session string) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(session) {
		command, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		switch {
		case isCommand:
			fmt.Fprintf(&text, "$ %s\n%s\n", command, transcript(t, command))
		case strings.HasPrefix(line, "#"):
			text.WriteString(line)
		}
	}
	return strings.TrimRight(text.String(), "\n") + "\n"
}

// transcript is what somebody sees who types a command, after "$ kubectl dra ...".
func transcript(t *testing.T, command string) string {
	t.Helper()
	words := shellWords(command)
	if len(words) < 3 || words[0] != "kubectl" || words[1] != "dra" {
		t.Fatalf("%q is not a command of ours", command)
	}
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	code := run(t.Context(), invocation{name: "kubectl-dra", args: words[2:], streams: streams})
	text := stdout.String()
	for line := range strings.Lines(stderr.String()) {
		text += "! " + line
	}
	if code != exitYes {
		text += fmt.Sprintf("[exit %d]\n", code)
	}
	return text
}

// shellWords takes a command line apart, with single quotes.
func shellWords(line string) []string {
	var words []string
	for _, match := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
		words = append(words, strings.Trim(match, "'"))
	}
	return words
}
