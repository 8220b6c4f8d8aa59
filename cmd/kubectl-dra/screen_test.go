package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

func TestWhatATerminalWouldObeyIsSpelt(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"plain text stays":                 {"NVIDIA H100, 80 °C, 日本語 🙂 \\n", "NVIDIA H100, 80 °C, 日本語 🙂 \\n"},
		"an escape":                        {"\x1b[2Jclear", `\x1b[2Jclear`},
		"a title with a bell":              {"\x1b]0;pwn\a", `\x1b]0;pwn\a`},
		"ends of lines":                    {"a\nb\r\nc", `a\nb\r\nc`},
		"a tab and what deletes":           {"a\tb\b\x7f", `a\tb\b\x7f`},
		"escapes in one character (C1)":    {"\u009b31m", `\u009b31m`},
		"what turns the direction":         {"a\u202eb\u2066", `a\u202eb\u2066`},
		"ends of lines that are not ASCII": {"a\u2028b\u0085", `a\u2028b\u0085`},
		"what is no UTF-8":                 {"a\xff\x9b", `a\xff\x9b`},
		"what stands for no UTF-8":         {"a\ufffd", "a\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := visible(c.text); got != c.want {
				t.Errorf("%q is shown as %s, want %s", c.text, got, c.want)
			}
			if got := visible(c.want); got != c.want {
				t.Errorf("what is shown, %s, is shown as %s when it is shown again", c.want, got)
			}
		})
	}
}

// hostile is what somebody might send who wants to do something to the terminal of who reads it.
const hostile = `\u001b]0;owned\u0007\u001b[2J\u009b31m\nnode-z   gpu.example.com   free\r\u202e`

// TestNothingThatOthersWroteReachesTheTerminal looks at files in which everything that can be is hostile: names,
// attributes, taints, messages of events, conditions and the scheduler.
func TestNothingThatOthersWroteReachesTheTerminal(t *testing.T) {
	raw, err := os.ReadFile("testdata/screen/hostile.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"devices":            {[]string{"devices", "--from", "F"}, exitYes},
		"devices with all":   {[]string{"devices", "-o", "wide", "--attributes", "all", "--from", "F"}, exitYes},
		"devices and a note": {[]string{"devices", "--attributes", "none", "--from", "F"}, exitYes},
		"parts":              {[]string{"devices", "--parts", "--from", "F"}, exitYes},
		"no such class":      {[]string{"devices", "--class", "none", "--from", "F"}, exitCannotTell},
		"no such driver":     {[]string{"devices", "--driver", "none", "--from", "F"}, exitYes},
		"a pod that waits":   {[]string{"why", "pod/waits", "--from", "F"}, exitNo},
		"a pod that runs":    {[]string{"why", "pod/runs", "--from", "F"}, exitYes},
		"a claim":            {[]string{"why", "claim/held", "--from", "F"}, exitYes},
		"simulate":           {[]string{"simulate", "-f", "F", "--slices", "F", "-o", "wide"}, exitNo},
		"validate":           {[]string{"validate", "-f", "F"}, exitNo},
	} {
		for _, colours := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "hostile.yaml")
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(raw), "EVIL", hostile)), 0o600); err != nil {
					t.Fatal(err)
				}
				args := strings.Fields(strings.ReplaceAll(strings.Join(c.args, " "), "F", file))
				out, errOut, code := coloured(t, colours, args...)
				if code != c.code {
					t.Errorf("exit code %d, want %d", code, c.code)
				}
				said := out + errOut
				for _, ours := range []tone{good, busy, bad, faint, loud} {
					said = strings.ReplaceAll(said, "\x1b["+string(ours)+"m", "")
				}
				said = strings.ReplaceAll(said, "\x1b[0m", "")
				if !colours && said != out+errOut {
					t.Error("there are colours, and nobody wants them")
				}
				if !strings.Contains(said, `\x1b]0;owned`) {
					t.Error("nothing that is hostile is shown: this shows nothing")
				}
				for line := range strings.Lines(said) {
					line = strings.TrimSuffix(line, "\n")
					if strings.ContainsFunc(line, unicode.IsControl) || strings.ContainsRune(line, '\u202e') {
						t.Errorf("reaches the terminal: %q", line)
					}
					if strings.HasPrefix(line, "node-z") {
						t.Errorf("a line that somebody made up: %q", line)
					}
				}
			})
		}
	}
}

func TestProgramsReadWhatOthersWroteAsItIs(t *testing.T) {
	raw, err := os.ReadFile("testdata/screen/hostile.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hostile.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(raw), "EVIL", hostile)), 0o600); err != nil {
		t.Fatal(err)
	}
	var want string
	if err := json.Unmarshal([]byte(`"`+hostile+`"`), &want); err != nil {
		t.Fatal(err)
	}
	out, _, _ := called(t, "devices", "--from", file, "-o", "json")
	var answer struct {
		Devices []struct {
			Attributes map[string]string `json:"attributes"`
		} `json:"devices"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	for _, d := range answer.Devices {
		if d.Attributes["model"] == want {
			return
		}
	}
	t.Errorf("no device has a model %q:\n%s", want, out)
}

// TestCompletionNamesNothingThatATerminalWouldObey: a shell writes what it completes.
func TestCompletionNamesNothingThatATerminalWouldObey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pods.yaml")
	pods := "{apiVersion: v1, kind: Pod, metadata: {name: good}}\n---\n" +
		`{apiVersion: v1, kind: Pod, metadata: {name: "` + hostile + "\"}}\n"
	if err := os.WriteFile(file, []byte(pods), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, _ := called(t, "__complete", "why", "--from", file, "pod/")
	if out != "pod/good\n:4\n" {
		t.Errorf("completes with %q", out)
	}
}
