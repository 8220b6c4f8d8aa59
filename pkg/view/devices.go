package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeviceOptions say which devices to list. The zero value is all of them.
type DeviceOptions struct {
	// Node leaves those that the node can use.
	Node string
	// Driver leaves those of the driver.
	Driver string
	// Class leaves those that the selectors of the DeviceClass select, as Selects says.
	Class string
	// Selects says whether a class selects a device; needed with Class only. An error is a problem of the listing, and
	// the device is left out.
	Selects func(class *resourceapi.DeviceClass, driver string, device *resourceapi.Device) (bool, error)
	// Namespace leaves those that a claim of the namespace has.
	Namespace string
	// Free leaves those that a claim may get, or a share of which it may get.
	Free bool
}

// Shows says whether Free and Namespace leave the row in the listing.
func (o DeviceOptions) Shows(r *Row) bool {
	return (!o.Free || r.Available()) && (o.Namespace == "" || usedIn(o.Namespace, r.UsedBy))
}

// NoClassError says that there is no DeviceClass of the name.
type NoClassError struct {
	Name string
	// There are the names of the classes that there are, sorted.
	There []string
}

func (e *NoClassError) Error() string {
	there := "there is no DeviceClass"
	if len(e.There) > 0 {
		there = "there are: " + strings.Join(e.There, ", ")
	}
	return fmt.Sprintf("select devices of class %q: the class does not exist; %s", e.Name, there)
}

// Devices lists the devices of a cluster, and those that claims have and no slice.
//
// The summary counts all devices of the chosen nodes, driver and class: Free and Namespace leave rows out of the
// listing, not out of the count. The error is a NoClassError.
func Devices(c *Cluster, o DeviceOptions) (Listing, error) {
	l := lister{cluster: c, options: o, allocations: NewAllocations(c), nodes: make(map[*corev1.NodeSelector]nodeSet)}
	if o.Class != "" {
		i := slices.IndexFunc(c.Classes, func(class *resourceapi.DeviceClass) bool { return class.Name == o.Class })
		if i < 0 {
			return Listing{}, &NoClassError{Name: o.Class, There: namesOf(c.Classes)}
		}
		l.class = c.Classes[i]
	}
	pools := c.Pools()
	for i := range pools {
		l.addPool(&pools[i])
	}
	l.addNotPublished(pools)
	return l.listing(), nil
}

func namesOf[T metav1.Object](objects []T) []string {
	names := make([]string, 0, len(objects))
	for _, o := range objects {
		names = append(names, o.GetName())
	}
	slices.Sort(names)
	return names
}

// lister makes a Listing.
type lister struct {
	cluster     *Cluster
	options     DeviceOptions
	class       *resourceapi.DeviceClass
	allocations *Allocations
	// nodes remembers what selectors select: the devices of a pool often share one.
	nodes map[*corev1.NodeSelector]nodeSet

	rows     []Row
	sets     []CounterSet
	problems []string
}

func (l *lister) listing() Listing {
	slices.SortStableFunc(l.rows, func(a, b Row) int {
		return cmp.Or(compareWhere(a.Where, b.Where), strings.Compare(a.Driver, b.Driver), strings.Compare(a.Pool, b.Pool))
	})
	slices.SortStableFunc(l.sets, func(a, b CounterSet) int {
		return cmp.Or(compareWhere(a.Where, b.Where), strings.Compare(a.Driver, b.Driver), strings.Compare(a.Pool, b.Pool),
			naturally(a.Name, b.Name))
	})
	slices.Sort(l.problems)
	summary := summarize(l.rows)
	shown := slices.DeleteFunc(l.rows, func(r Row) bool { return !l.options.Shows(&r) })
	if shown == nil {
		shown = []Row{} // a list, for programs
	}
	return Listing{Devices: shown, CounterSets: l.sets, Summary: summary, Problems: slices.Compact(l.problems)}
}

// compareWhere puts what belongs to one node first, by the node's name.
func compareWhere(a, b Where) int {
	if (a.Node == "") != (b.Node == "") {
		return strings.Compare(b.Node, a.Node)
	}
	return naturally(a.Node, b.Node)
}

func usedIn(namespace string, users []User) bool {
	return slices.ContainsFunc(users, func(u User) bool { return u.Namespace == namespace })
}

// chosen says whether the options ask for devices of the place.
func (l *lister) chosen(driver string, w Where, has func(node string) bool) bool {
	if l.options.Driver != "" && l.options.Driver != driver {
		return false
	}
	return l.options.Node == "" || w.Node == l.options.Node || w.AllNodes || w.Node == "" && has(l.options.Node)
}

// selected says whether the class, if there is one, selects the device.
func (l *lister) selected(id DeviceID, d *resourceapi.Device) bool {
	if l.class == nil {
		return true
	}
	yes, err := l.options.Selects(l.class, id.Driver, d)
	if err != nil {
		l.problems = append(l.problems, fmt.Sprintf("class %s: device %s: %v", l.class.Name, id, err))
	}
	return err == nil && yes
}
