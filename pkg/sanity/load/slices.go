package load

import "context"

// sliceWorkloads are those in which devices are published.
func sliceWorkloads() []Workload {
	all := []Workload{startWorkload(), restartWorkload(), writesWorkload(), backWorkload(), meanwhileWorkload()}
	for i, w := range all {
		all[i].run = func(ctx context.Context, r *rig) error {
			if len(r.Devices) == 0 {
				r.notRun("", "no number of devices was given")
				return nil
			}
			return w.run(ctx, r)
		}
	}
	return all
}
