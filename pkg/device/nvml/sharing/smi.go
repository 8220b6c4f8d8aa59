//go:build cgo

package sharing

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// SMI is the program nvidia-smi, which alone can set time slices: NVML has no call for it.
type SMI struct {
	// Path is where it is, as this process sees it.
	Path string
	// Library is the libnvidia-ml.so.1 that belongs to it. It may be empty: then the loader finds it by itself.
	Library string
}

// slicePattern finds the time slice in a line of nvidia-smi compute-policy --list, whose form is not promised.
var slicePattern = regexp.MustCompile(`(?i)time[ _-]?slice.*?\b(default|short|medium|long|[0-3])\b`)

func (s SMI) run(ctx context.Context, arguments ...string) (string, error) {
	program := exec.Command(s.Path, append([]string{"compute-policy"}, arguments...)...)
	program.Env = os.Environ()
	if s.Library != "" {
		program.Env = append(program.Env, "LD_PRELOAD="+s.Library)
	}
	text, err := answer(ctx, patience, program)
	if err != nil {
		return "", fmt.Errorf("run nvidia-smi compute-policy %s: %w", strings.Join(arguments, " "), err)
	}
	return text, nil
}

// TimeSlice returns the time slice of a GPU; the default one if nvidia-smi does not say it in a way that can be read.
func (s SMI) TimeSlice(ctx context.Context, uuid string) (TimeSlice, error) {
	text, err := s.run(ctx, "--list", "-i", uuid)
	if err != nil {
		return 0, err
	}
	found := slicePattern.FindStringSubmatch(strings.ReplaceAll(text, "|", " "))
	if found == nil {
		return DefaultSlice, nil
	}
	for _, slice := range []TimeSlice{DefaultSlice, ShortSlice, MediumSlice, LongSlice} {
		if strings.EqualFold(found[1], slice.String()) || found[1] == strconv.Itoa(int(slice)) {
			return slice, nil
		}
	}
	return DefaultSlice, nil
}

// SetTimeSlice sets the time slice of a GPU.
func (s SMI) SetTimeSlice(ctx context.Context, uuid string, to TimeSlice) error {
	_, err := s.run(ctx, "--set-timeslice", strconv.Itoa(int(to)), "-i", uuid)
	return err
}
