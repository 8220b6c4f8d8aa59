package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/dragoman/e2e/fakegpu"
)

const smiName = "nvidia-smi"

// smi is the part of nvidia-smi that drivers of Kubernetes use:
//
//	nvidia-smi -L                                        the GPUs, in a container by their device nodes
//	nvidia-smi compute-policy --set-timeslice N [-i ID]  the time slice: 0 default, 1 short, 2 medium, 3 long
//	nvidia-smi compute-policy --list [-i ID]
//	nvidia-smi -c MODE [-i ID]                           the compute mode, by number or name
//	nvidia-smi --gpu-reset [-i ID]                       a pending MIG mode becomes the current one
//
// ID is an index or a UUID, or several with commas.
func smi(ctx context.Context, args []string) error {
	driver, err := here()
	if err != nil {
		return listNodes()
	}
	if err := misbehave(ctx, driver, smiName); err != nil {
		return err
	}
	machine, err := driver.Machine()
	if err != nil {
		return err
	}
	if len(args) > 0 && args[0] == "compute-policy" {
		return computePolicy(driver, machine, args[1:])
	}
	flags := flag.NewFlagSet(smiName, flag.ContinueOnError)
	list, ids := flags.Bool("L", false, ""), flags.String("i", "", "")
	mode, reset := flags.String("c", "", ""), flags.Bool("gpu-reset", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *mode != "":
		return setComputeMode(driver, machine, *ids, *mode)
	case *reset:
		return each(driver, machine, *ids, func(_ int, gpu *fakegpu.GPU) {
			gpu.MIG, gpu.Instances = gpu.PendingMIG, nil
		})
	case *list || len(args) == 0:
		for index := range machine.GPUs {
			fmt.Printf("GPU %d: NVIDIA %s (UUID: %s)\n", index, strings.ToUpper(machine.GPUs[index]), machine.UUID(index))
		}
		return nil
	}
	return fmt.Errorf("made-up nvidia-smi does not know %v", args)
}

// listNodes lists the GPUs of a container, which sees the program without its driver root.
func listNodes() error {
	nodes, err := filepath.Glob("/dev/nvidia[0-9]*")
	for _, node := range nodes {
		fmt.Printf("GPU %s: made up (%s)\n", strings.TrimPrefix(node, "/dev/nvidia"), node)
	}
	return err
}

// misbehave does what the control file wants a program to do: be slow, or end with an error.
func misbehave(ctx context.Context, driver fakegpu.Driver, program string) error {
	control, err := driver.Control()
	if err != nil {
		return err
	}
	fault := control.Calls[program]
	if fault.Delay != "" {
		delay, err := time.ParseDuration(fault.Delay)
		if err != nil {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fault.Return != "" {
		return errors.New(fault.Return)
	}
	return nil
}

func computePolicy(driver fakegpu.Driver, machine fakegpu.Machine, args []string) error {
	flags := flag.NewFlagSet(smiName+" compute-policy", flag.ContinueOnError)
	ids, slice := flags.String("i", "", ""), flags.Int("set-timeslice", -1, "")
	flags.StringVar(ids, "id", "", "")
	list := flags.Bool("list", false, "")
	flags.BoolVar(list, "l", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	names := []string{"Default", "Short", "Medium", "Long"}
	switch {
	case *slice >= len(names):
		return fmt.Errorf("invalid timeslice %d", *slice)
	case *slice >= 0:
		return each(driver, machine, *ids, func(index int, gpu *fakegpu.GPU) {
			gpu.TimeSlice = *slice
			fmt.Printf("Successfully set TimeSlice of GPU %s to %s\n", machine.UUID(index), names[*slice])
		})
	case *list:
		fmt.Println("+-------------------------------------+\n| GPU compute policies:               |\n" +
			"| GPU  Name          Value            |\n|=====================================|")
		err := each(driver, machine, *ids, func(index int, gpu *fakegpu.GPU) {
			fmt.Printf("| %3d  Timeslice     %-16s |\n", index, names[gpu.TimeSlice])
		})
		fmt.Println("+-------------------------------------+")
		return err
	}
	return errors.New("say --set-timeslice or --list")
}

func setComputeMode(driver fakegpu.Driver, machine fakegpu.Machine, ids, mode string) error {
	modes := []string{"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED", "EXCLUSIVE_PROCESS"}
	number, err := strconv.Atoi(mode)
	if err != nil {
		number = slices.Index(modes, strings.ToUpper(mode))
	}
	if number < 0 || number >= len(modes) {
		return fmt.Errorf("invalid compute mode %q", mode)
	}
	return each(driver, machine, ids, func(index int, gpu *fakegpu.GPU) {
		gpu.ComputeMode = number
		fmt.Printf("Set compute mode to %s for GPU %s.\n", modes[number], machine.UUID(index))
	})
}

// each changes what the GPUs with the ids remember; no ids: all.
func each(driver fakegpu.Driver, machine fakegpu.Machine, ids string, change func(int, *fakegpu.GPU)) error {
	wanted := strings.FieldsFunc(ids, func(r rune) bool { return r == ',' })
	for _, id := range wanted {
		if !known(machine, id) {
			fmt.Println("No devices were found")
			return fmt.Errorf("there is no GPU %s", id)
		}
	}
	return driver.Update(func(s *fakegpu.State) error {
		for index := range machine.GPUs {
			if len(wanted) == 0 || slices.Contains(wanted, strconv.Itoa(index)) || slices.Contains(wanted, machine.UUID(index)) {
				change(index, s.GPU(index))
			}
		}
		return nil
	})
}

func known(machine fakegpu.Machine, id string) bool {
	for index := range machine.GPUs {
		if id == strconv.Itoa(index) || id == machine.UUID(index) {
			return true
		}
	}
	return false
}
