package agreement

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// generator makes a question. Everything in it has names of its own, so that many can be asked at a time.
type generator struct {
	*rand.Rand
	has features
	question
	pools []*pool
	// reckless selectors read attributes without looking whether they are there.
	reckless bool
	// single: every node sees one pool of one slice.
	single bool
}

// pool is a pool with what is in it.
type pool struct {
	kind
	driver, name string
	place        place
	devices      []resourceapi.Device
	counters     []resourceapi.CounterSet
	// node is where the pool is, for one that belongs to a single node.
	node *corev1.Node
}

// kind is what the devices of a pool are like.
type kind int

const (
	whole  kind = iota // given away as they are
	parts              // cut from the same hardware, so that they exclude each other
	shared             // given to many, who say how much they want
)

// generate makes the question with that number; the same seed, number and features make the same.
func generate(seed uint64, number int, has features) *question {
	// Different numbers and seeds are to have nothing in common.
	hash := fnv.New64a()
	_, _ = fmt.Fprint(hash, seed, number)
	g := &generator{Rand: rand.New(rand.NewPCG(hash.Sum64(), uint64(number))), has: has}
	g.name, g.number = fmt.Sprintf("q%03d", number), number
	g.reckless = g.chance(20)
	// With shares, 1.34.3 works only where a node has one slice.
	g.single = has.old && (g.reckless || has.shares)
	g.machines()
	g.classesOfDevices()
	g.inUse()
	if has.rules && g.chance(15) {
		g.taintRule()
	}
	for range one(g, 1, 2, 3) {
		g.wants()
	}
	return &g.question
}

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// between returns a number from low to high, both included.
func (g *generator) between(low, high int) int { return low + g.IntN(high-low+1) }

// one returns one of the choices.
func one[T any](g *generator, choices ...T) T { return choices[g.IntN(len(choices))] }

// object is the metadata of something of the question, which needs no namespace.
func (g *generator) object(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{questionLabel: g.name}}
}

// spaced is the metadata of something of the question in the namespace.
func (g *generator) spaced(name string) metav1.ObjectMeta {
	meta := g.object(name)
	meta.Namespace = namespace
	return meta
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }
