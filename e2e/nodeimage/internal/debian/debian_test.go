package debian

import (
	"slices"
	"testing"
)

func TestFindMirror(t *testing.T) {
	suites := []string{"bookworm"}
	for name, tc := range map[string]struct {
		text   string
		deb822 bool
		want   string
	}{
		"one-line": {
			text: "deb http://mirror.example/debian/ bookworm main contrib\n", want: "http://mirror.example/debian",
		},
		"options and source packages": {
			text: "deb-src http://src.example bookworm main\n" +
				"deb [arch=amd64 signed-by=/k.gpg] https://m.example/d bookworm main\n",
			want: "https://m.example/d",
		},
		"commented out": {text: "# deb http://old.example/debian bookworm main\n"},
		"security and updates only": {
			text: "deb http://s.example/debian-security bookworm-security main\n" +
				"deb http://u.example bookworm-updates main\n",
		},
		"third party of the same suite": {text: "deb https://download.example/linux/debian bookworm stable\n"},
		"not over the network": {
			text: "deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/debian bookworm main\n",
		},
		"deb822": {
			deb822: true, want: "http://deb.debian.org/debian",
			text: "Types: deb\n# http://snapshot.example\nURIs: http://deb.debian.org/debian\n" +
				"Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n" +
				"Types: deb\nURIs: http://deb.debian.org/debian-security\n" +
				"Suites: bookworm-security\nComponents: main\n",
		},
		"deb822 of a third party": {
			deb822: true,
			text:   "Types: deb\nURIs: https://deb.nodesource.example\nSuites: nodistro\nComponents: main\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := findMirror(tc.text, tc.deb822, suites); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestMissingNamesThePackageOfAnAbsentCommand(t *testing.T) {
	got := Missing([]Need{{"sh", "dash"}, {"no-such-command-here", "its-package"}})
	if !slices.Equal(got, []string{"its-package"}) {
		t.Errorf("got %v", got)
	}
}

func TestOSRelease(t *testing.T) {
	const text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_CODENAME=bookworm\nID=debian\n"
	for key, want := range map[string]string{"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12", "NAME": ""} {
		if got := osRelease(text, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}
