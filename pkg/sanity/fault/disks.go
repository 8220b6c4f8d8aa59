package fault

import (
	"context"
	"time"

	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) disks() []suite.Case {
	var cases []suite.Case
	for _, of := range []string{"cdi", "state"} {
		needs := []suite.Need{needsSmallDisk}
		if of == "state" {
			needs = append(needs, needsStateDir)
		}
		cases = append(cases, suite.Case{
			Name: of + "-disk-full",
			Promise: "With a full disk, prepare succeeds or is answered with an error and leaves nothing half made, and " +
				"unprepare succeeds; with space again, the same call succeeds.",
			Source: sourceInvariants, Needs: needs, Run: func(t *suite.T) { r.diskFails(t, r.diskFor(of), true) },
		}, suite.Case{
			Name: of + "-disk-read-only",
			Promise: "With a read-only disk, calls may be answered with errors and nothing is lost; when it is writable " +
				"again, the same calls succeed, without a restart.",
			Source: sourceInvariants, Needs: needs, Run: func(t *suite.T) { r.diskFails(t, r.diskFor(of), false) },
		}, suite.Case{
			Name: of + "-disk-full-at-start",
			Promise: "A driver that is started with a full disk forgets nothing: what was prepared is unprepared, or is " +
				"when there is space again.",
			Source: sourceInvariants, Needs: append(needs, node.NeedsProcesses), Timeout: 3 * time.Minute,
			Run: func(t *suite.T) { r.diskFullAtStart(t, r.diskFor(of)) },
		})
	}
	return cases
}

func (r *rig) diskFor(of string) disk {
	all := r.disksOf()
	if of == "cdi" {
		return all[0]
	}
	return all[len(all)-1]
}

// end ends a fault once, at the latest when the case ends.
func end(t *suite.T, what string, f func() error) func() {
	done := false
	once := func() {
		if done {
			return
		}
		done = true
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	t.Cleanup(func(context.Context) { once() })
	return once
}

func (r *rig) diskFails(t *suite.T, d disk, full bool) {
	baseline := r.baseline(t)
	plugin := r.Registered(t)
	kept, leaving, coming := r.Exclusive(t, "kept", 1), r.Exclusive(t, "leaving", 1), r.Exclusive(t, "coming", 1)
	keeps := r.Prepare(t, plugin, kept)
	r.Prepare(t, plugin, leaving)
	undo := d.lock
	if full {
		undo = d.fill
	}
	mend, err := undo()
	if err != nil {
		t.NotRun("%v", err)
	}
	over := end(t, "mend the disk", mend)

	during, failed := plugin.PrepareOne(t.Context(), coming)
	if failed == nil {
		r.Resolves(t, coming, during)
	}
	r.Resolves(t, kept, keeps)
	left := plugin.UnprepareOne(t.Context(), leaving)
	if left == nil {
		r.NothingLeft(t, leaving.UID)
	} else if full {
		t.Errorf("unprepare needs space on the disk: %v; a pod that ends frees the space others wait for", left)
	}
	over()
	after := r.Prepare(t, plugin, coming)
	if failed == nil {
		r.Same(t, "when the disk is well again", during, after)
	}
	r.Same(t, "when the disk is well again", keeps, r.Prepare(t, plugin, kept))
	r.Unprepare(t, plugin, leaving)
	r.Unprepare(t, plugin, coming)
	r.Unprepare(t, plugin, kept)
	r.nothingNew(t, baseline)
	t.Notef("during the fault, prepare: %v; unprepare: %v", orOK(failed), orOK(left))
}

// diskFullAtStart: a driver may end when it cannot write, and is started again then; it must not lose what it knows.
func (r *rig) diskFullAtStart(t *suite.T, d disk) {
	plugin := r.Registered(t)
	kept, leaving := r.Exclusive(t, "kept", 1), r.Exclusive(t, "leaving", 1)
	keeps := r.Prepare(t, plugin, kept)
	r.Prepare(t, plugin, leaving)
	free, err := d.fill()
	t.Must(err, "fill the disk")
	over := end(t, "free the disk", free)
	for _, i := range r.Subject.Running() {
		t.Must(i.Kill(t.Context()), "kill the driver")
	}
	known := r.Kubelet().Registrations(r.Cluster.Driver)
	first := r.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), node.Patience/3)
	defer cancel()
	came, err := r.Kubelet().RegisteredAgain(ctx, r.Cluster.Driver, known)
	if err == nil {
		t.Must(came.UnprepareOne(t.Context(), leaving), "unprepare with a full disk")
		t.Notef("it starts with a full disk")
	} else {
		t.Notef("it does not start with a full disk: %v", err)
	}
	r.Resolves(t, kept, keeps)
	over()
	if first.Ended() {
		r.Start(t)
	}
	plugin = r.Registered(t)
	r.Same(t, "after a start with a full disk", keeps, r.Prepare(t, plugin, kept))
	r.Unprepare(t, plugin, leaving)
	r.Unprepare(t, plugin, kept)
}
