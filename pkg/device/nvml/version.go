//go:build cgo

package nvml

import (
	"regexp"
	"strconv"
	"strings"
)

// versionLike is what NVIDIA's drivers call their version: "580.95.05", "550.54", rarely with more behind it.
var versionLike = regexp.MustCompile(`^(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(.*)$`)

// semantic turns the version of a driver into a semantic version (semver.org 2.0.0), which is what the API server
// accepts as the type version: three numbers without leading zeros. "580.95.05" becomes "580.95.5". It is empty for
// what is no version at all.
func semantic(version string) string {
	match := versionLike.FindStringSubmatch(strings.TrimSpace(version))
	if match == nil || match[4] != "" {
		return ""
	}
	var numbers []string
	for _, digits := range match[1:4] {
		number, err := strconv.Atoi("0" + digits)
		if err != nil {
			return ""
		}
		numbers = append(numbers, strconv.Itoa(number))
	}
	return strings.Join(numbers, ".")
}
