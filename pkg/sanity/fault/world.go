package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/history"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/proxy"
	"example.com/dragoman/pkg/sanity/subject"
)

// world carries out the operations of a plan with the real driver.
type world struct {
	*rig
	claims   []history.Claim
	objects  []kubelet.Claim
	baseline []string
	usual    time.Duration // of a call

	mutex   sync.Mutex
	random  *rand.Rand
	lasting map[history.Fault]func() error // what ends it
}

// begin starts the driver with nothing prepared and makes the claims.
func (w *world) begin(ctx context.Context, allocations []cluster.Allocation) error {
	if err := w.end(ctx); err != nil {
		return err
	}
	for _, i := range w.Subject.Running() {
		if err := i.Kill(ctx); err != nil {
			return err
		}
	}
	if err := w.forget(); err != nil {
		return err
	}
	if dead := w.start(ctx); dead != "" {
		return errors.New(dead)
	}
	w.objects = nil
	for i, a := range allocations {
		claim, err := w.Cluster.Claim(ctx, "claim-"+w.claims[i].Name, a)
		if err != nil {
			return err
		}
		w.objects = append(w.objects, claim)
	}
	return w.warmUp(ctx)
}

// warmUp prepares one claim, for the files that a driver makes with its first one.
func (w *world) warmUp(ctx context.Context) error {
	plugin, err := w.Kubelet().Registered(ctx, w.Cluster.Driver)
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := plugin.PrepareOne(ctx, w.objects[0]); err != nil {
		return fmt.Errorf("prepare a claim before the plan begins: %w", err)
	}
	w.usual = max(time.Since(start), time.Millisecond)
	if err := plugin.UnprepareOne(ctx, w.objects[0]); err != nil {
		return fmt.Errorf("unprepare a claim before the plan begins: %w", err)
	}
	w.baseline, err = w.files()
	return err
}

// end ends all faults, unprepares the claims and removes them.
func (w *world) end(ctx context.Context) error {
	var problems []error
	for fault := range w.lasting {
		problems = append(problems, w.over(fault))
	}
	for _, claim := range w.objects {
		problems = append(problems, w.Cluster.Delete(ctx, claim))
	}
	w.objects = nil
	return errors.Join(problems...)
}

// forget empties the directories that do not survive a boot.
func (w *world) forget() error {
	for _, dir := range []string{w.Dirs.CDI, w.Dirs.State} {
		if err := empty(dir); err != nil {
			return err
		}
	}
	return nil
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || dir == "" {
		return nil
	}
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	if err != nil {
		return fmt.Errorf("empty %s: %w", dir, err)
	}
	return nil
}

// start starts the driver and says why it does not come.
func (w *world) start(ctx context.Context) (dead string) {
	known := w.Kubelet().Registrations(w.Cluster.Driver)
	i, err := w.Subject.Start(ctx)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, node.Patience)
	defer cancel()
	go func() {
		select {
		case <-i.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	if _, err := w.Kubelet().RegisteredAgain(ctx, w.Cluster.Driver, known); err != nil {
		if i.Ended() {
			return fmt.Sprintf("it ended by itself: %v", i.Err())
		}
		return fmt.Sprintf("it did not register within %v: %v", node.Patience, err)
	}
	return ""
}

// Do carries out one operation.
func (w *world) Do(ctx context.Context, o history.Operation) (history.Answer, error) {
	switch o.Kind {
	case history.Prepare, history.Unprepare:
		if !o.Killed {
			return w.call(ctx, o)
		}
		answers, err := w.Together(ctx, history.Operation{Calls: []history.Operation{o}})
		if err != nil {
			return history.Answer{}, err
		}
		return answers[0], nil
	case history.Delete:
		return history.Answer{}, w.Cluster.Delete(ctx, w.objects[o.Claim])
	case history.Wipe:
		return history.Answer{}, empty(w.Dirs.CDI)
	case history.Begin:
		return history.Answer{}, w.lay(o.Fault)
	case history.End:
		return history.Answer{}, w.over(o.Fault)
	case history.Update:
		return history.Answer{Dead: w.update(ctx)}, nil
	case history.Restart, history.Kill, history.Reboot:
		return w.again(ctx, o.Kind)
	default:
		return history.Answer{}, fmt.Errorf("no such operation: %s", o.Kind)
	}
}

func (w *world) again(ctx context.Context, kind history.Kind) (history.Answer, error) {
	for _, i := range w.Subject.Running() {
		if kind == history.Restart {
			if dead := stop(ctx, i); dead != "" {
				return history.Answer{Dead: dead}, nil
			}
		} else if err := i.Kill(ctx); err != nil {
			return history.Answer{}, err
		}
	}
	if kind == history.Reboot {
		if err := w.forget(); err != nil {
			return history.Answer{}, err
		}
	}
	return history.Answer{Dead: w.start(ctx)}, nil
}

// update is what a DaemonSet does that starts the new pod before it ends the old one.
func (w *world) update(ctx context.Context) (dead string) {
	older := w.Subject.Running()
	if dead = w.start(ctx); dead != "" {
		return dead
	}
	for _, i := range older {
		if dead = stop(ctx, i); dead != "" {
			return dead
		}
	}
	return ""
}

// stop asks an instance to end. With which exit code it does is of no interest: it may not have come up yet.
func stop(ctx context.Context, i *subject.Instance) (dead string) {
	if err := i.Stop(ctx); err != nil && !i.Ended() {
		return err.Error()
	}
	return ""
}

// call makes a call and gives the answer as the kubelet gets it.
func (w *world) call(ctx context.Context, o history.Operation) (history.Answer, error) {
	plugin, err := w.Kubelet().Registered(ctx, w.Cluster.Driver)
	if err != nil {
		return history.Answer{}, err
	}
	w.mutex.Lock()
	faulty := len(w.lasting) > 0
	w.mutex.Unlock()
	if faulty && o.Kind == history.Prepare {
		short, cancel := context.WithTimeout(ctx, underFault)
		defer cancel()
		ctx = short
	}
	if o.Kind == history.Unprepare {
		return answer(nil, plugin.UnprepareOne(ctx, w.objects[o.Claim])), nil
	}
	prepared, err := plugin.PrepareOne(ctx, w.objects[o.Claim])
	return answer(prepared.IDs(), err), nil
}

func answer(ids []string, err error) history.Answer {
	if err != nil {
		return history.Answer{Err: err.Error()}
	}
	return history.Answer{IDs: ids}
}

// Together makes calls, and kills the driver while they are in progress.
func (w *world) Together(ctx context.Context, o history.Operation) ([]history.Answer, error) {
	w.mutex.Lock()
	moment := time.Duration(w.random.Int64N(int64(w.usual) * 3 / 2))
	w.mutex.Unlock()
	answers, errs := make([]history.Answer, len(o.Calls)), make([]error, len(o.Calls))
	var calls sync.WaitGroup
	for i, call := range o.Calls {
		calls.Go(func() { answers[i], errs[i] = w.call(ctx, call) })
	}
	select {
	case <-time.After(moment):
	case <-ctx.Done():
	}
	again, err := w.again(ctx, history.Kill)
	calls.Wait()
	answers[0].Dead = again.Dead
	return answers, errors.Join(append(errs, err)...)
}

// lay begins a fault.
func (w *world) lay(fault history.Fault) error {
	var undo []func() error
	switch fault {
	case history.NoAPIServer:
		if err := w.Proxy.Set(proxy.Refuse()); err != nil {
			return err
		}
		undo = append(undo, func() error { return w.Proxy.Set() })
	case history.FullDisk, history.ReadOnly:
		for _, d := range w.disksOf() {
			one := d.fill
			if fault == history.ReadOnly {
				one = d.lock
			}
			mend, err := one()
			if err != nil {
				return err
			}
			undo = append(undo, mend)
		}
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.lasting[fault] = func() error {
		var err error
		for _, one := range undo {
			err = errors.Join(err, one())
		}
		return err
	}
	return nil
}

// over ends a fault, if it lasts.
func (w *world) over(fault history.Fault) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	mend, lasts := w.lasting[fault]
	if !lasts {
		return nil
	}
	delete(w.lasting, fault)
	return mend()
}

// Look looks at what is there.
func (w *world) Look(_ context.Context, ids []string) (history.View, error) {
	view := history.View{Unresolved: map[string]string{}, Traces: map[int][]string{}}
	for _, id := range ids {
		answer := kubelet.Prepared{Devices: []kubelet.Device{{CDIDeviceIDs: []string{id}}}}
		if _, err := w.Container(answer); err != nil {
			view.Unresolved[id] = err.Error()
		}
	}
	for i, claim := range w.objects {
		traces, err := w.Traces(claim.UID)
		if err != nil {
			return view, err
		}
		if len(traces) > 0 {
			view.Traces[i] = traces
		}
	}
	files, err := w.files()
	if err != nil {
		return view, err
	}
	view.Strays = without(files, w.baseline)
	return view, nil
}
