package main

import (
	"fmt"
	"strings"
	"time"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/why"
)

// whyWidth is how wide a screen of "why" is at most, apart from tables.
const whyWidth = 110

// whyScreen is the text of an answer while it grows.
type whyScreen struct {
	*screen
}

// printWhy prints the answer for people.
func (s *session) printWhy(a why.Answer) error {
	w := &whyScreen{s.newScreen()}
	kind := "Pod"
	if a.Kind != "Pod" {
		kind = "Claim"
	}
	w.wrapped(loud, "", "  ", fmt.Sprintf("%s %s/%s %s", kind, a.Namespace, a.Name, a.Summary))
	w.reasons(a)
	for _, g := range a.Got {
		w.got(g)
	}
	if a.FitCount > 0 {
		w.there(a)
	} else {
		for _, r := range a.Requests {
			w.request(r)
		}
	}
	w.notes("Together:", a.Joint)
	w.unfit(a)
	w.next(a)
	if a.Scheduler != nil {
		w.line()
		w.wrapped(faint, "", "  ", fmt.Sprintf("The scheduler said: %s", a.Scheduler.Text))
	}
	return w.printTo(s.streams.Out)
}

// there is all that is to say of devices that can be had.
func (w *whyScreen) there(a why.Answer) {
	if len(a.Requests) == 0 && a.State != why.Possible {
		return // the devices that it has are on the screen, with their node
	}
	nodes := strings.Join(a.Fits, ", ")
	if more := a.FitCount - len(a.Fits); more > 0 {
		nodes += fmt.Sprintf(" and %d more", more)
	}
	var wants []string
	for _, r := range a.Requests {
		if _, choice, list := strings.Cut(r.Name, "/"); list && !strings.HasSuffix(r.Name, "/"+choice) {
			continue
		}
		wants = append(wants, r.Wants)
	}
	w.line()
	if len(wants) == 0 {
		w.wrapped(plain, "", "  ", "It has its devices already, and can use them on: "+nodes)
		return
	}
	are := "are there"
	if a.ClaimsUnseen {
		are = "are there, unless a claim that was not seen has them"
	}
	w.wrapped(plain, "", "  ", fmt.Sprintf("The devices %s (%s), on: %s", are, strings.Join(wants, "; "), nodes))
}

// reasons prints what the first line does not say.
func (w *whyScreen) reasons(a why.Answer) {
	for _, r := range a.Reasons {
		if !strings.Contains(a.Summary, r.Text) {
			w.wrapped(plain, "  ", "  ", sentence(r.Text)+".")
		}
		for _, q := range r.Quotes {
			w.quote(q)
		}
	}
}

func (w *whyScreen) quote(q why.Quote) {
	from := q.From
	if q.Reason != "" {
		from += " (" + q.Reason + ")"
	}
	if q.Count > 1 {
		from += fmt.Sprintf(", %d times", q.Count)
	}
	w.wrapped(plain, "  ", "    ", from+": "+q.Text)
}

func (w *whyScreen) request(r why.Request) {
	if len(r.Nodes) == 0 || r.Devices == 0 {
		return
	}
	name := fmt.Sprintf("request %q", r.Name)
	if request, choice, list := strings.Cut(r.Name, "/"); list {
		name = fmt.Sprintf("request %q, choice %q", request, choice)
	}
	w.line()
	w.wrapped(plain, "", "  ", fmt.Sprintf("Claim %s, %s: %s", r.Claim, name, r.Wants))
	for _, s := range r.Selectors {
		w.selector(s)
	}
	w.table(r)
}

func (w *whyScreen) selector(s why.Selector) {
	if s.Lost+s.Errors == 0 || s.From == "class" && s.Lost < s.Asked && s.Errors == 0 {
		return // what is of other classes, nobody asked for
	}
	whose := "selector"
	if s.From == "class" {
		whose = "class selector"
	}
	loss := fmt.Sprintf("not true for %d of %s", s.Lost, view.Count(s.Asked, "device"))
	if s.Errors > 0 {
		loss = fmt.Sprintf("cannot be evaluated on %d of %s", s.Errors, view.Count(s.Asked, "device"))
		if s.Lost > 0 {
			loss += fmt.Sprintf(", not true for %d", s.Lost)
		}
	}
	w.wrapped(plain, "  ", "    ", fmt.Sprintf("%s %s", whose, shortened(s.Expression)))
	w.wrapped(bad, "    ", "    ", loss)
	if s.Errors > 0 {
		w.wrapped(plain, "    ", "      ", fmt.Sprintf("on %s: %s", s.Device, s.Error))
	}
	for _, c := range s.Conditions {
		if len(s.Conditions) > 1 || shortened(c.Expression) != shortened(s.Expression) {
			w.wrapped(plain, "    ", "      ", fmt.Sprintf("true for %s: %s", orNone(c.Holds), shortened(c.Expression)))
		}
		for _, l := range c.Looks {
			w.look(l, s.Asked)
		}
	}
}

func (w *whyScreen) look(l why.Look, asked int) {
	switch {
	case l.On == 0 && l.DidYouMean != "":
		w.wrapped(plain, "    ", "      ", fmt.Sprintf("no device has %s. Did you mean %s?", l.Name, l.DidYouMean))
	case l.On == 0:
		w.wrapped(plain, "    ", "      ", fmt.Sprintf("no device has %s", l.Name))
	default:
		values := strings.Join(l.Values, ", ")
		if l.MoreValues > 0 {
			values += fmt.Sprintf(" and %d more", l.MoreValues)
		}
		on := ""
		if l.On < asked {
			on = fmt.Sprintf(" (on %d of %s)", l.On, view.Count(asked, "device"))
		}
		w.wrapped(plain, "    ", "      ", fmt.Sprintf("%s is %s%s", l.Name, values, on))
	}
}

// table prints the nodes. The last column is wrapped.
func (w *whyScreen) table(r why.Request) {
	if r.Devices == 0 {
		return
	}
	needed := "all"
	if r.Needed > 0 {
		needed = fmt.Sprint(r.Needed)
	}
	rows := [][]string{{"NODE", "DEVICES", "LEFT", "NEEDED", "LOST"}}
	for _, n := range r.Nodes {
		each, per := "", 1
		if len(n.Nodes) > 1 && n.Same {
			each, per = " each", len(n.Nodes)
		}
		var lost []string
		for _, l := range n.Lost {
			l.Devices /= per
			lost = append(lost, l.String())
		}
		rows = append(rows, []string{
			visible(nodeNames(n.Nodes)), fmt.Sprintf("%d%s", n.Devices/per, each), fmt.Sprint(n.Left / per), needed,
			orDash(strings.Join(lost, ", ")),
		})
	}
	widths := make([]int, len(rows[0])-1)
	for _, row := range rows {
		for i := range widths {
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	for _, row := range rows {
		var begin strings.Builder
		begin.WriteString(" ")
		for i, width := range widths {
			_, _ = fmt.Fprintf(&begin, " %-*s ", width, row[i])
		}
		begin.WriteString(" ")
		w.wrapped(plain, begin.String(), strings.Repeat(" ", len([]rune(begin.String()))), row[len(widths)])
	}
}

func (w *whyScreen) notes(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	w.line()
	w.linef("%s", title)
	for _, l := range lines {
		w.wrapped(plain, "  ", "    ", l)
	}
}

func (w *whyScreen) unfit(a why.Answer) {
	var lines []string
	for _, g := range a.Unfit {
		lines = append(lines, fmt.Sprintf("%s: %s", nodeNames(g.Nodes), g.Text))
	}
	w.notes("Nodes that do not fit the pod:", lines)
}

func (w *whyScreen) next(a why.Answer) {
	if len(a.Next) == 0 && a.State == why.Waiting && len(a.Requests) > 0 && a.FitCount == 0 {
		w.line()
		w.linef("Next: no single change was found that would help")
	}
	if a.SearchCut {
		defer w.wrapped(plain, "      ", "      ", "(not all changes were tried, as there are many: others may help too)")
	}
	for i, r := range a.Next {
		if i == 0 {
			w.line()
			w.wrapped(good, "Next: ", "      ", r.Text)
			continue
		}
		w.wrapped(good, "  or: ", "      ", r.Text)
	}
}

func (w *whyScreen) got(g why.Got) {
	since := ""
	if !g.Since.IsZero() {
		since = ", since " + g.Since.UTC().Format(time.RFC3339)
	}
	w.line()
	w.wrapped(plain, "", "  ", fmt.Sprintf("Claim %s has, on %s%s:", g.Claim, g.Node, since))
	for i, d := range g.Devices {
		text := fmt.Sprintf("request %q: %s/%s/%s", d.Request, d.Driver, d.Pool, d.Device)
		if len(d.Takes) > 0 {
			text += ", of it " + strings.Join(d.Takes, ", ")
		}
		if d.AdminAccess {
			text += ", with admin access"
		}
		w.wrapped(plain, "  ", "    ", text)
		for _, n := range d.Notes {
			w.wrapped(bad, "    ", "    ", n)
		}
		if i+1 == len(g.Devices) || g.Devices[i+1].Request != d.Request {
			w.whyThese(g.Why, d.Request)
		}
	}
	for _, c := range g.Choices {
		text := fmt.Sprintf("request %q took its first choice, %q", c.Request, c.Taken)
		if len(c.Before) > 0 {
			text = fmt.Sprintf("request %q took choice %q; as things are now, of those before it:", c.Request, c.Taken)
		}
		w.wrapped(plain, "  ", "    ", text)
		for _, b := range c.Before {
			w.wrapped(plain, "    ", "      ", fmt.Sprintf("%q %s", b.Choice, b.Why))
		}
	}
}

// whyThese says why a request got its devices.
func (w *whyScreen) whyThese(reasons []why.Ground, request string) {
	for _, y := range reasons {
		if y.Request == request {
			w.wrapped(plain, "    for ", "      ", y.Why)
		}
	}
}

// wrapped prints a line, broken at spaces where it is too long.
func (w *whyScreen) wrapped(t tone, first, others, text string) {
	indent, line := first, ""
	for word := range strings.FieldsSeq(visible(strings.Join(strings.Fields(text), " "))) {
		if line != "" && len([]rune(indent+line))+1+len([]rune(word)) > whyWidth {
			w.line(span{text: indent}, span{t, line})
			indent, line = others, ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	w.line(span{text: indent}, span{t, line})
}

// nodeNames names one or two nodes, and counts more.
func nodeNames(nodes []string) string {
	if len(nodes) <= 2 {
		return strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("%d nodes", len(nodes))
}

// shortened is an expression in one line that is not too long.
func shortened(expression string) string {
	const most = 200
	text := []rune(strings.Join(strings.Fields(expression), " "))
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func orNone(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
