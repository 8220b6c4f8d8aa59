package why

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// said returns the newest event of the object for each reason and sentence that the reasons have; all reasons if none
// is given. The newest comes first.
func (w *world) said(kind, namespace, name string, reasons ...string) []Quote {
	var quotes []Quote
	for _, e := range slices.Backward(w.Events) {
		o := e.InvolvedObject
		if o.Kind != kind || o.Namespace != namespace || o.Name != name ||
			len(reasons) > 0 && !slices.Contains(reasons, e.Reason) {
			continue
		}
		q := quoteOf(e)
		if !slices.ContainsFunc(quotes, func(k Quote) bool { return k.Reason == q.Reason && k.Text == q.Text }) {
			quotes = append(quotes, q)
		}
	}
	slices.SortStableFunc(quotes, func(a, b Quote) int { return b.Last.Compare(a.Last) })
	return quotes
}

func quoteOf(e *corev1.Event) Quote {
	q := Quote{
		From: speaker(cmp.Or(e.ReportingController, e.Source.Component)), Reason: e.Reason,
		Text: strings.TrimSpace(e.Message), Count: e.Count, Last: lastOf(e),
	}
	if e.Series != nil {
		q.Count = e.Series.Count
	}
	return q
}

// speaker says who speaks, where the name that components have for themselves does not.
func speaker(name string) string {
	switch name {
	case "resource_claim":
		return "controller of claims"
	case "":
		return "somebody"
	}
	return name
}

func lastOf(e *corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	for _, t := range []time.Time{e.EventTime.Time, e.CreationTimestamp.Time} {
		if last.IsZero() {
			last = t
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	return last
}

// condition returns the pod's condition of the type.
func condition(pod *corev1.Pod, of corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == of {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
