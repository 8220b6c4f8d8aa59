package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// compare waits until the screen is the one in the file, and returns it. What Kubernetes says comes in pieces: an event
// after a condition, another one after that. With -update it waits until the screen stays as it is.
func (p pending) compare(t *testing.T, u *user) (screen string) {
	t.Helper()
	written, err := os.ReadFile(screenFile(p.name))
	if err != nil && !*update {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), screenPatience)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) error {
		before := screen
		now, err := p.screen(ctx, t, u)
		if err != nil {
			return err
		}
		screen = now + p.mendText()
		if *update && screen != before {
			return errors.New("it changes")
		}
		if !*update && !sameWords(screen, string(written)) {
			return errors.New("it is another one")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the screen: %v\nin %s:\n%s\nhere:\n%s", err, screenFile(p.name), written, screen)
	}
	return screen
}

// screenPatience is how long a screen may take to become the one in its file, once "why" gives the reason.
const screenPatience = 45 * time.Second

// sameWords says whether texts differ only in how they are laid out: nodes have longer names in other clusters, so that
// columns are wider and lines broken elsewhere.
func sameWords(a, b string) bool {
	return slices.Equal(strings.Fields(a), strings.Fields(b))
}

// screen is what somebody sees of the pod or claim: of kubectl, and of our plugin.
func (p pending) screen(ctx context.Context, t *testing.T, u *user) (string, error) {
	t.Helper()
	kind, name, _ := strings.Cut(strings.TrimPrefix(p.question(), "kubectl dra why "), "/")
	if kind == "claim" {
		kind = "resourceclaim"
	}
	line := fmt.Sprintf("kubectl get %s %s", kind, name)
	got := u.shell(t, line)
	if got.code != 0 {
		return "", errors.New(got.talk)
	}
	event, err := u.event(ctx, p, name)
	if err != nil {
		return "", err
	}
	said := u.shell(t, p.question())
	if err := readable(said.out); err != nil {
		return "", err
	}
	text := fmt.Sprintf("# %s\n\n$ %s\n%s", p.story, line, got.out)
	text += fmt.Sprintf("$ kubectl describe %s %s\n...\nEvents:%s\n", kind, name, event)
	text += fmt.Sprintf("\n$ %s\n%s%s[exit %d]\n", p.question(), said.out, asTalk(said.talk), said.code)
	return u.screenNames(text), nil
}

func asTalk(stderr string) (text string) {
	for line := range strings.Lines(stderr) {
		text += "! " + line
	}
	return text
}

// readable says what is wrong with a screen.
func readable(text string) error {
	const most, widest = 40, 120
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > most {
		return fmt.Errorf("it has %d lines, more than %d:\n%s", len(lines), most, text)
	}
	for _, line := range lines {
		if n := len([]rune(line)); n > widest {
			return fmt.Errorf("a line has %d columns, more than %d: %s", n, widest, line)
		}
	}
	return nil
}

// event is the newest event of the row's reason, as kubectl shows it but for the time.
func (u *user) event(ctx context.Context, p pending, object string) (string, error) {
	reason := cmp.Or(p.event, "FailedScheduling")
	if reason == "none" {
		return " <none>", nil
	}
	list, err := client.CoreV1().Events(u.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.name=" + object + ",reason=" + reason,
	})
	if err != nil {
		return "", err
	}
	if len(list.Items) == 0 {
		return "", fmt.Errorf("there is no event %s of %s", reason, object)
	}
	newest := slices.MaxFunc(list.Items, func(a, b corev1.Event) int { return when(a).Compare(when(b)) })
	from := cmp.Or(newest.Source.Component, newest.ReportingController)
	text := strings.Join(strings.Fields(newest.Message), " ")
	return fmt.Sprintf("\n  %s  %s  %s  %s", newest.Type, newest.Reason, from, text), nil
}

func when(e corev1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

var (
	ages      = regexp.MustCompile(`(?m)(\s)(\d+[dhms])+$`)
	times     = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	counts    = regexp.MustCompile(`, \d+ times:`)
	uids      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	generated = regexp.MustCompile(`\b(train[a-z0-9]*(?:-[a-z]+)*)-[a-z0-9]{5}\b`)
)

// screenNames is a text in which everything that is another each time is the same.
func (u *user) screenNames(text string) string {
	text = strings.NewReplacer(string(worker), screenWorker, string(controlPlane), screenControlPlane).Replace(text)
	text = ages.ReplaceAllString(text, "${1}5s")
	text = times.ReplaceAllString(text, "2026-01-02T15:04:05Z")
	text = counts.ReplaceAllString(text, ":")
	text = uids.ReplaceAllString(text, "2f0c7f4e-9a51-4d3b-8f43-5a1c0e6d7b92")
	text = strings.ReplaceAll(text, "(combined from similar events): ", "") // of those that name something generated
	return generated.ReplaceAllString(text, "${1}-x7k2p")
}
