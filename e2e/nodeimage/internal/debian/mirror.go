package debian

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const defaultMirror = "http://deb.debian.org/debian"

// Mirror is the Debian mirror the host is configured for, which is the one that can be reached from here.
func Mirror(suite string) string {
	release, _ := os.ReadFile("/etc/os-release")
	suites := []string{suite, osRelease(string(release), "VERSION_CODENAME")}
	var files []string
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		found, _ := filepath.Glob(filepath.Join("/etc/apt", pattern)) // the patterns are well-formed
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if uri := findMirror(string(text), strings.HasSuffix(file, ".sources"), suites); uri != "" {
			return uri
		}
	}
	return defaultMirror
}

// source is one line or paragraph of apt's configuration.
type source struct{ types, uris, suites, components []string }

// findMirror returns the first source of Debian itself: it has the component main of a plain suite, which neither
// security updates nor third parties have.
func findMirror(text string, deb822 bool, suites []string) string {
	parse := parseList
	if deb822 {
		parse = parseDeb822
	}
	for _, s := range parse(text) {
		if !slices.Contains(s.types, "deb") || !slices.Contains(s.components, "main") {
			continue
		}
		plain := slices.ContainsFunc(s.suites, func(x string) bool { return slices.Contains(suites, x) })
		for _, uri := range s.uris {
			if plain && (strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://")) {
				return strings.TrimSuffix(uri, "/")
			}
		}
	}
	return ""
}

// parseList reads one-line sources: deb [options] URI suite components...
func parseList(text string) []source {
	var sources []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if open := strings.Index(line, "["); open >= 0 {
			if end := strings.Index(line, "]"); end > open {
				line = line[:open] + line[end+1:]
			}
		}
		if f := strings.Fields(line); len(f) >= 4 {
			sources = append(sources, source{f[:1], f[1:2], f[2:3], f[3:]})
		}
	}
	return sources
}

// parseDeb822 reads paragraphs of "Field: values".
func parseDeb822(text string) []source {
	var sources []source
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		var s source
		for line := range strings.Lines(paragraph) {
			field, values, ok := strings.Cut(line, ":")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			switch strings.ToLower(field) {
			case "types":
				s.types = strings.Fields(values)
			case "uris":
				s.uris = strings.Fields(values)
			case "suites":
				s.suites = strings.Fields(values)
			case "components":
				s.components = strings.Fields(values)
			}
		}
		sources = append(sources, s)
	}
	return sources
}
