package agreement

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

var (
	seed  = flag.Uint64("seed", 1, "what the random questions follow from")
	cases = flag.Int("cases", 160, "how many questions are asked of each scheduler, with up to three pods each")
	only  = flag.Int("only", -1, "the number of the only question to ask")
)

// together is how many questions are asked at a time.
const together = 40

func TestSchedulerAgrees(t *testing.T) {
	for _, s := range setups() {
		t.Run(s.name, func(t *testing.T) {
			l := startLab(t, s)
			begin := time.Now()
			var all tally
			for from := 0; from < *cases; from += together {
				var batch []*question
				for n := from; n < min(from+together, *cases); n++ {
					if *only < 0 || *only == n {
						batch = append(batch, generate(*seed, n, s.has))
					}
				}
				for _, a := range l.play(t, batch) {
					all.add(a)
					if err := a.compare(s.has.old); err != nil {
						report(t, a, err)
					}
				}
			}
			t.Logf("%v, in %v", all, time.Since(begin).Round(time.Second))
			// Questions that all have the same answer would show nothing.
			if no := all.asked - all.fits; *only < 0 && (all.fits < all.asked/5 || no < all.asked/5) {
				t.Errorf("%d fit and %d do not: one of both is hardly tested", all.fits, no)
			}
		})
	}
}

// tally counts answers.
type tally struct {
	asked, fits, same int
	reasons           map[string]int
}

func (c *tally) add(a *answers) {
	c.asked++
	switch {
	case !a.theirs.fits:
		if c.reasons == nil {
			c.reasons = map[string]int{}
		}
		c.reasons[a.theirs.reason]++
	case a.same():
		c.same++
		c.fits++
	default:
		c.fits++
	}
}

func (c tally) String() string {
	return fmt.Sprintf("seed %d: of %d pods %d fit, %d of them with the same devices; others: %v", *seed, c.asked, c.fits,
		c.same, c.reasons)
}

// report fails the test with the question as a file, for kubectl and for kubectl-dra. Its pods are made one after the
// other.
func report(t *testing.T, a *answers, disagreement error) {
	t.Helper()
	text, err := a.yaml()
	if err != nil {
		t.Error(err)
	}
	t.Errorf("pod %s (-seed %d -only %d):\n%v\n%s", a.pod.Name, *seed, a.number, disagreement, text)
}

// play asks both: what there is of all questions is made; then kubectl-dra looks and answers to the first pod of each,
// and this is made; then the second, with what the first has got, and so on.
func (l *lab) play(t *testing.T, batch []*question) (all []*answers) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	side(t, batch, func(q *question) error {
		if err := l.put(ctx, q); err != nil {
			return fmt.Errorf("question %s: %w", q.name, err)
		}
		return nil
	})
	if err := l.barrier(ctx); err != nil {
		t.Fatal(err)
	}
	// A pod that failed late may leave allocations behind, of which the scheduler hears when it does.
	unsettled := map[*question]bool{}
	for round := 0; ; round++ {
		var asked []*answers
		for _, q := range batch {
			if round < len(q.pods) && !unsettled[q] {
				asked = append(asked, &answers{question: q, pod: q.pods[round]})
			}
		}
		if len(asked) == 0 {
			break
		}
		l.playRound(ctx, t, asked)
		for _, a := range asked {
			unsettled[a.question] = a.theirs.reason == corev1.PodReasonSchedulerError
		}
		all = append(all, asked...)
	}
	if err := l.clear(ctx); err != nil {
		t.Fatal(err)
	}
	return all
}

func (l *lab) playRound(ctx context.Context, t *testing.T, asked []*answers) {
	t.Helper()
	cluster, err := l.look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	side(t, asked, func(a *answers) (err error) {
		a.cluster = cluster
		if a.ours, err = answer(ctx, cluster, a.pod); err != nil {
			return err
		}
		a.reasons, err = explain(ctx, cluster, a.pod)
		return err
	})
	side(t, asked, func(a *answers) (err error) {
		a.theirs, err = l.ask(ctx, a.pod)
		return err
	})
}

// look is how kubectl-dra sees the cluster.
func (l *lab) look(ctx context.Context) (*view.Cluster, error) {
	collector, err := collect.New(l.config)
	if err != nil {
		return nil, err
	}
	return collector.Look(ctx, collect.Want{
		Nodes: true, Claims: true, Templates: true, TaintRules: true, Namespaces: true, Pods: true,
	})
}

// side does it for all of them side by side.
func side[T any](t *testing.T, all []T, do func(one T) error) {
	t.Helper()
	var group sync.WaitGroup
	errs := make([]error, len(all))
	for i, one := range all {
		group.Go(func() { errs[i] = do(one) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
