package main

import (
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"example.com/dragoman/pkg/view"
)

// watched is what is printed of the clusters, one after the other: the first, then "--" before what each further one
// adds.
func watched(t *testing.T, change func(*devicesCommand), clusters ...*view.Cluster) string {
	t.Helper()
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	d := &devicesCommand{
		session: newSession(invocation{name: "kubectl-dra", streams: streams}), format: newOutputFormat("table"), watch: true,
	}
	if change != nil {
		change(d)
	}
	w := &deviceWatch{command: d}
	for i, c := range clusters {
		if i > 0 {
			stdout.WriteString("--\n")
		}
		if err := w.changed(c); err != nil {
			t.Fatal(err)
		}
	}
	text := stdout.String()
	for line := range strings.Lines(stderr.String()) {
		text += "! " + line
	}
	return text
}

// later is the small cluster after a change.
func later(t *testing.T, change func(*view.Cluster)) *view.Cluster {
	t.Helper()
	c := seenCluster(t, "small")
	change(c)
	return c
}

func TestAWatchPrintsWhatChanges(t *testing.T) {
	steps := func() []*view.Cluster {
		return []*view.Cluster{
			later(t, func(*view.Cluster) {}),
			later(t, func(*view.Cluster) {}), // nothing that shows
			later(t, func(c *view.Cluster) { c.Claims = c.Claims[1:] }),
			later(t, func(c *view.Cluster) { // a node's driver goes, a device that is in use stays with its claim
				c.Claims = c.Claims[1:]
				for i, s := range c.Slices {
					if *s.Spec.NodeName == "node-b" {
						c.Slices = append(c.Slices[:i:i], c.Slices[i+1:]...)
						break
					}
				}
			}),
			later(t, func(c *view.Cluster) { // it comes back, and another has a taint
				c.Claims = c.Claims[1:]
				c.Slices[0].Spec.Devices[0].Taints = []resourceapi.DeviceTaint{{Key: "gpu.example.com/hot", Effect: "NoSchedule"}}
			}),
		}
	}
	golden(t, "devices/watch.txt", watched(t, nil, steps()...))
	golden(t, "devices/watch-free.txt", watched(t, func(d *devicesCommand) { d.options.Free = true }, steps()...))
	golden(t, "devices/watch-namespace.txt",
		watched(t, func(d *devicesCommand) { d.options.Namespace = "team-a" }, steps()...))
	onNode := func(format string) func(*devicesCommand) {
		return func(d *devicesCommand) { d.options.Node, d.format.value = "node-b", format }
	}
	golden(t, "devices/watch-yaml.txt", watched(t, onNode("yaml"), steps()...))
	golden(t, "devices/watch-json.txt", watched(t, onNode("json"), steps()...))
}

func TestAWatchOfNothingSaysSoOnce(t *testing.T) {
	got := watched(t, nil, &view.Cluster{}, &view.Cluster{}, seenCluster(t, "shares"))
	if n := strings.Count(got, "! No driver has published devices"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if _, after, _ := strings.Cut(got, "--\n--\n"); !strings.Contains(after, "gpu-0") {
		t.Errorf("what comes later is not printed:\n%s", got)
	}
	// What the devices to come will have is not known yet: no column is left out.
	if !strings.HasPrefix(got, "NODE ") || !strings.Contains(got, " MODEL ") {
		t.Errorf("titles are missing:\n%s", got)
	}
}

func TestDevicesRefusesWhatDoesNotGoTogether(t *testing.T) {
	from := "../../pkg/view/testdata/small.yaml"
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"parts and watch":   {[]string{"--parts", "--watch"}, "--parts and --watch do not go together"},
		"a watch of files":  {[]string{"--watch", "--from", from}, "--watch and --from do not go together"},
		"an unknown format": {[]string{"-o", "xml"}, "there are: table, wide, json, yaml"},
		"an argument":       {[]string{"gpu-0"}, `takes no arguments, and there is "gpu-0"`},
		"a class that is absent": {
			[]string{"--class", "gpu", "--from", from}, "there are: big-gpu.example.com, gpu.example.com",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, errOut, code := called(t, append([]string{"devices"}, test.args...)...)
			if out != "" || code != exitCannotTell || !strings.Contains(errOut, test.want) {
				t.Errorf("exit %d\n%s%s\nwant %s", code, out, errOut, test.want)
			}
		})
	}
}

func TestANamespaceThatIsAskedForLeavesItsDevices(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want int // lines
	}{
		"all without -n":        {want: 15},
		"those of a namespace":  {args: []string{"-n", "team-b"}, want: 6},
		"all with -n and -A":    {args: []string{"-n", "team-b", "-A"}, want: 15},
		"a namespace with none": {args: []string{"-n", "nobody"}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"devices", "--from", "../../pkg/view/testdata/small.yaml"}, test.args...)
			out, errOut, code := called(t, args...)
			if got := strings.Count(out, "\n"); got != test.want || code != exitYes || errOut != "" {
				t.Errorf("%d lines, exit %d; want %d\n%s%s", got, code, test.want, out, errOut)
			}
		})
	}
}
