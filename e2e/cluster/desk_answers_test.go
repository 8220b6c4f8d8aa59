package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
	"sigs.k8s.io/yaml"
)

// deskWatch is about "devices --watch" while a pod comes and goes.
func deskWatch(at terminal) types.Feature {
	s := newScene("e2e-desk", 1)
	var seen *screen
	return features.New("devices --watch").Setup(s.begin).
		Setup(assess(func(t *testing.T) {
			seen = at.watches(t, "devices --watch --class "+driverName+" --node "+string(worker))
		})).
		Assess("begins with what there is", assess(func(t *testing.T) {
			seen.until(t, "the first table", func(lines []string) bool {
				return len(lines) > 4 && strings.HasPrefix(lines[0], "NODE")
			})
		})).
		Assess("says who comes, and who goes, once", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("train", "one"))
			device := allocated(t, s.onlyClaim(t, s.running(t, "train")))[0].Device
			says := func(state string) func([]string) bool {
				return func(lines []string) bool {
					last := lines[len(lines)-1]
					return strings.Contains(last, " "+device+" ") && strings.Contains(last, state)
				}
			}
			seen.until(t, device+" is the pod's", says(s.namespace+"/train"))
			s.deletePod(t, "train")
			seen.until(t, device+" is free again", says(" free "))
			if lines := seen.lines(); len(slices.Compact(lines)) != len(seen.lines()) {
				t.Errorf("a line is there twice:\n%s", strings.Join(seen.lines(), "\n"))
			}
		})).
		Assess("ends when it is interrupted, as shells expect", assess(func(t *testing.T) {
			const interrupted = 128 + int(syscall.SIGINT)
			if code := seen.interrupt(t); code != interrupted {
				t.Errorf("its exit code is %d, expected %d", code, interrupted)
			}
		})).Feature()
}

// screen is what a running command has said so far.
type screen struct {
	interrupt func(*testing.T) int // stops the command and returns its exit code

	mu   sync.Mutex
	said []string
}

func (s *screen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

// until waits until the lines are as they should be.
func (s *screen) until(t *testing.T, what string, check func([]string) bool) {
	t.Helper()
	until(t, what, func(context.Context) error {
		if lines := s.lines(); len(lines) == 0 || !check(lines) {
			return fmt.Errorf("the screen is\n%s", strings.Join(lines, "\n"))
		}
		return nil
	})
}

// watches starts a command that runs until it is interrupted, at the end of the test if not before.
func (at terminal) watches(t *testing.T, line string) *screen {
	t.Helper()
	command := at.command(t, append([]string{"kubectl", "dra"}, strings.Fields(line)...)...)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s, read := &screen{}, make(chan struct{})
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			s.mu.Lock()
			s.said = append(s.said, scanner.Text())
			s.mu.Unlock()
		}
	}()
	s.interrupt = func(t *testing.T) int {
		t.Helper()
		if err := command.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		<-read
		_ = command.Wait() // its exit code says it
		return command.ProcessState.ExitCode()
	}
	return s
}

// simulated is what "simulate -o json" says.
type simulated struct {
	Possible bool
	Objects  []struct {
		Name       string
		Placements []struct {
			Node   string
			Claims []struct {
				Devices []struct{ Pool, Device string }
			}
		}
	}
}

// deskSimulate is about being told before what happens then.
func deskSimulate(at terminal) types.Feature {
	const folder = "01-one-device"
	s := newScene("dragoman-01", 1)
	nine := newScene("e2e-desk", 1)
	file, err := filepath.Abs(filepath.Join(examples, folder, "one-device.yaml"))
	var said simulated
	enter := func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
		s.enter(t, cfg)
		return ctx
	}
	return features.New("simulate").Setup(nine.begin).Setup(enter).
		Assess("says which device of which node a pod would get", assess(func(t *testing.T) {
			if err != nil {
				t.Fatal(err)
			}
			line := "simulate -f " + file
			at.types(t, line).expect(t, line, 0, []string{"pod0: yes, on " + string(worker)})
			if err := json.Unmarshal([]byte(at.types(t, line+" -o json").out), &said); err != nil || !said.Possible {
				t.Fatalf("as JSON it is %+v, error %v", said, err)
			}
		})).
		Assess("and the pod gets it", assess(func(t *testing.T) {
			s.mustApply(t, folder)
			pod := s.running(t, "pod0")
			placement := said.Objects[0].Placements[0]
			var expected []string
			for _, claim := range placement.Claims {
				for _, d := range claim.Devices {
					expected = append(expected, d.Pool+"/"+d.Device)
				}
			}
			got := deviceNames(allocated(t, s.onlyClaim(t, pod)))
			if !slices.Equal(got, expected) || pod.Spec.NodeName != placement.Node {
				t.Errorf("on node %s it has %v; was said: %s, %v", pod.Spec.NodeName, got, placement.Node, expected)
			}
		})).
		Assess("says no to a pod that then waits", assess(func(t *testing.T) {
			writeObjects(t, filepath.Join(at.directory, "nine.yaml"), tooMany(nine.namespace)...)
			const line = "simulate -f nine.yaml"
			at.types(t, line).expect(t, line, 1, []string{"waits: no, on none of 2 nodes", "NEEDED", "Next: "})
			at.call(t, "kubectl", "apply", "-f", "nine.yaml").expect(t, "apply", 0, []string{"pod/waits created"})
			nine.expectPending(t, "waits", "cannot allocate all claims")
			why := "why pod/waits -n " + nine.namespace
			at.types(t, why).expect(t, why, 1, []string{"Pod e2e-desk/waits waits: no node", "The scheduler said: 0/2 nodes"})
		})).Feature()
}

// tooMany is a pod with a claim for more devices than a node has, as a user would write both.
func tooMany(namespace string) []any {
	template, pod := newTemplate("nine", devicesPerNode+1), newPod("waits", "nine")
	template.TypeMeta = metav1.TypeMeta{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaimTemplate"}
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	template.Namespace, pod.Namespace = namespace, namespace
	return []any{template, pod}
}

// writeObjects writes objects to a file.
func writeObjects(t *testing.T, file string, objects ...any) {
	t.Helper()
	var text strings.Builder
	for _, object := range objects {
		part, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n" + string(part))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// deskValidate is about all examples: what is refused when it is applied, and nothing else, is found in the files.
func deskValidate(at terminal) types.Feature {
	return features.New("validate").Assess("finds what would be refused", assess(func(t *testing.T) {
		folder, err := filepath.Abs(examples)
		if err != nil {
			t.Fatal(err)
		}
		for what, code := range map[string]int{
			"": 1, "01-one-device": 0, "06-device-configuration/device-configuration.yaml": 0,
			"06-device-configuration/refused": 1, "08-admin-access/admin-access.yaml": 0, "08-admin-access": 1,
			"20-refused-when-created/right.yaml": 0, "20-refused-when-created/refused/claim.yaml": 1,
			"20-refused-when-created/refused/template.yaml": 1, "20-refused-when-created/nothing.yaml": 2,
		} {
			line := "validate -R -f " + filepath.Join(folder, what)
			if said := at.types(t, line); said.code != code {
				t.Errorf("$ kubectl dra %s\n%s%s[exit %d], expected %d", line, said.out, said.talk, said.code, code)
			}
		}
	})).Feature()
}

// deskWords is about what a shell asks for, and the other manners of kubectl.
func deskWords(at terminal) types.Feature {
	s := newScene("e2e-desk", 1)
	return features.New("words").Setup(s.begin).
		Assess("a shell completes pods and claims", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("train", "one"))
			claim := s.onlyClaim(t, s.running(t, "train")).Name
			for asked, want := range map[string]string{"pod/": "pod/train", "pod/tr": "pod/train", "claim/": "claim/" + claim} {
				said := at.call(t, "kubectl", "__complete", "dra", "why", "-n", s.namespace, asked)
				if said.code != 0 || !slices.Contains(strings.Split(said.out, "\n"), want) {
					t.Errorf("for %s it says\n%s%s", asked, said.out, said.talk)
				}
			}
		})).
		Assess("it says who it is, and what it cannot do", assess(func(t *testing.T) {
			at.types(t, "version").expect(t, "version", 0, []string{"kubectl dra ", "k8s.io/dynamic-resource-allocation"})
			at.types(t, "help why").expect(t, "help why", 0, []string{"kubectl dra why", "Exit codes:"})
			for line, talk := range map[string]string{
				"nothing": `unknown command "nothing"`, "devices --nothing": "unknown flag: --nothing",
				"why pod/nobody": `pod "nobody" is not in namespace "default"`, "devices --context nowhere": "nowhere",
			} {
				at.types(t, line).expect(t, line, 2, nil, talk)
			}
		})).Feature()
}
