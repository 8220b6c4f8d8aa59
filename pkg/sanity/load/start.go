package load

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/node"
)

// startWorkload is how long it takes until a driver is there.
func startWorkload() Workload {
	return Workload{
		Name: "start",
		About: "From the moment at which the driver's program is executed until it has registered with the kubelet, until " +
			"the API server has its first slice, and until the pool is complete: medians of up to 5 starts, of 2 with more " +
			"than 64 devices, each with no slice in the API server.",
		Source: "an update of a driver, or a node that boots: pods wait until its devices are there",
		run:    starts,
	}
}

// idle is how long a driver is left alone before its memory is read.
const idle = 10 * time.Second

func starts(ctx context.Context, r *rig) error {
	for i, devices := range r.Devices {
		last := i == len(r.Devices)-1
		times := r.starts(5)
		if devices > 64 {
			times = min(times, 2)
		}
		r.startsWith(ctx, devices, times, i == 0, last)
	}
	return nil
}

// startsWith measures starts with so many devices. counted adds one whose requests are counted; alone leaves the
// drivers alone after the last one, to see what they keep.
func (r *rig) startsWith(ctx context.Context, devices, times int, counted, alone bool) {
	r.say("%d devices", devices)
	c := r.openAll(ctx, setup{devices: devices})
	defer func() { c.close(ctx) }()
	began := map[*site]moments{}
	published := map[*site]int{}
	has := map[*site]*figures.Process{}
	c.some(ctx, times, func(s *site) error {
		if has := published[s]; 0 < has && has < devices && devices != r.Devices[0] {
			return nil // it was measured with those that it has
		}
		now, at, err := s.startOnce(ctx, devices)
		if err != nil {
			return err
		}
		began[s], published[s] = append(began[s], at), now.devices
		process, _, err := s.process()
		has[s] = &process
		return err
	})
	requests := map[string]map[string]float64{}
	if counted {
		requests = r.requestsOfAStart(ctx, devices)
	}
	for _, s := range c.rest() {
		if !r.asAsked(s, devices, published[s]) {
			continue
		}
		r.add(figures.Measurement{
			Driver: s.side.Driver, Situation: figures.Situation{Devices: published[s]}, Operation: "start",
			Moments:  began[s].summary(registeredMoment, completeMoment),
			Requests: requests[s.side.Driver], Process: has[s],
		})
	}
	if alone {
		r.leftAlone(ctx, c, published)
	}
}

// asAsked says whether the driver published about as many devices as it was asked for. If not, the report says so, and
// that it was measured with those that it has, or not again.
func (r *rig) asAsked(s *site, asked, published int) bool {
	if published >= asked || published == 0 {
		return published > 0 // why there are none is in the report already
	}
	r.notRun(s.side.Driver, "with %d devices: it publishes %d, whatever DRA_SANITY_DEVICES says", asked, published)
	return asked == r.Devices[0]
}

// leftAlone measures what the drivers have when they have had nothing to do for a while.
func (r *rig) leftAlone(ctx context.Context, c *crew, published map[*site]int) {
	c.each(func(s *site) error {
		select {
		case <-time.After(idle):
		case <-ctx.Done():
			return ctx.Err()
		}
		process, _, err := s.process()
		if err != nil || published[s] == 0 {
			return err
		}
		r.add(figures.Measurement{
			Driver: s.side.Driver, Situation: figures.Situation{Devices: published[s]}, Operation: "idle", Process: &process,
		})
		return nil
	})
}

// requestsOfAStart counts the requests of one start, by the driver's name. It is a start of its own, since the proxy
// that counts takes time.
func (r *rig) requestsOfAStart(ctx context.Context, devices int) map[string]map[string]float64 {
	requests := map[string]map[string]float64{}
	c := r.openAll(ctx, setup{devices: devices, proxied: true})
	defer func() { c.close(ctx) }()
	c.some(ctx, 1, func(s *site) error {
		_, _, err := s.startOnce(ctx, devices)
		requests[s.side.Driver] = s.requests()
		return err
	})
	return requests
}

// The moments of a start.
const (
	registeredMoment = "registered"
	firstMoment      = "first slice"
	completeMoment   = "complete"
)

// startOnce starts the driver without any slices in the API server, after an end of the one that runs. It returns when
// the pool is complete.
func (s *site) startOnce(ctx context.Context, devices int) (seen, map[string]time.Duration, error) {
	if err := s.rest(ctx); err != nil {
		return seen{}, nil, err
	}
	watched, err := s.record(ctx)
	if err != nil {
		return seen{}, nil, err
	}
	defer watched.close()
	executed, registered, err := s.startTimed(ctx)
	if err != nil {
		return seen{}, nil, err
	}
	now, err := s.pool(ctx, watched, devices)
	return now, map[string]time.Duration{
		registeredMoment: registered.Sub(executed), firstMoment: now.first.Sub(executed),
		completeMoment: now.complete.Sub(executed),
	}, err
}

// rest ends the driver if it runs, and deletes its slices.
func (s *site) rest(ctx context.Context) error {
	if err := s.end(ctx); err != nil {
		return err
	}
	return s.cluster.WipeSlices(ctx)
}

// end asks the driver to end, if it runs. How it does is of no interest here.
func (s *site) end(ctx context.Context) error {
	for _, i := range s.subject.Running() {
		waiting, cancel := context.WithTimeout(ctx, node.Patience)
		err := i.Stop(waiting)
		cancel()
		if err != nil && !i.Ended() {
			return misdeed{err}
		}
	}
	s.subject.Forget()
	return nil
}

// startTimed starts the driver and returns when its program was executed and when it had registered.
func (s *site) startTimed(ctx context.Context) (executed, registered time.Time, err error) {
	known := s.kubelet.Registrations(s.side.Driver)
	executed = time.Now()
	if err := s.start(ctx); err != nil {
		return executed, registered, err
	}
	program := followProgram(s.instance.PID(), executed)
	waiting, cancel := s.whileItRuns(ctx, node.Patience)
	defer cancel()
	_, err = s.kubelet.RegisteredAgain(waiting, s.side.Driver, known)
	registered = time.Now()
	executed = program()
	if err != nil {
		return executed, registered, s.blame(ctx, waiting, err)
	}
	_, err = s.registered(ctx) // it finds the process
	return executed, registered, err
}

// followProgram follows which program a process executes; the result ends that and says since when it is the last one.
// A start command may be a script, whose own time is not the driver's.
func followProgram(pid int, started time.Time) func() time.Time {
	const look = time.Millisecond
	executed, done, ended := started, make(chan struct{}), make(chan struct{})
	link := filepath.Join("/proc", strconv.Itoa(pid), "exe")
	program, _ := os.Readlink(link) // none if the process is elsewhere, or has ended
	see := func(at time.Time) {
		if now, err := os.Readlink(link); err == nil && now != program {
			program, executed = now, at
		}
	}
	go func() {
		defer close(ended)
		ticks := time.NewTicker(look)
		defer ticks.Stop()
		for {
			select {
			case at := <-ticks.C:
				see(at)
			case <-done:
				see(time.Now())
				return
			}
		}
	}()
	return func() time.Time {
		close(done)
		<-ended
		return executed
	}
}
