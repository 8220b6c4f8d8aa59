package main

import (
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"strings"
)

// versions say what was measured.
type versions struct {
	Driver string // what dragoman says of itself
	Commit string // of the working tree; "" if it is none of git
	Go     string // that compiled the driver
}

func versionsOf(program string) (versions, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return versions{}, fmt.Errorf("ask the driver's program what compiled it: %w", err)
	}
	said, err := exec.Command(program, "--version").Output()
	if err != nil {
		return versions{}, fmt.Errorf("ask the driver for its version: %w", err)
	}
	v := versions{Go: info.GoVersion}
	if words := strings.Fields(string(said)); len(words) > 1 {
		v.Driver = words[1]
	}
	// A copy without git's directory has no commit.
	if commit, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output(); err == nil {
		v.Commit = strings.TrimSpace(string(commit))
	}
	return v, nil
}
