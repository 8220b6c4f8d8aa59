package why

import (
	"fmt"
	"strings"

	"example.com/dragoman/pkg/view"
)

// String says the loss in a few words, for example "3 in use by team-a/train-0 and team-a/train-1".
func (l Loss) String() string {
	text := fmt.Sprintf("%s %s", view.Number(l.Devices), l.words())
	if len(l.Details) == 0 {
		return text
	}
	details := listed(l.Details, mostDetails)
	if l.More > 0 {
		details = fmt.Sprintf("%s and %s more", strings.Join(l.Details, ", "), view.Number(l.More))
	}
	if l.Stage == StageInUse {
		return text + " by " + details
	}
	if l.Stage == StageTaint {
		return text + " " + details
	}
	if l.Stage == StageCapacity || l.Stage == StageCounters || l.Stage == StagePool { // these are lists themselves
		details = strings.Join(l.Details, "; ")
		if l.More > 0 {
			details += fmt.Sprintf("; and %s more", view.Number(l.More))
		}
	}
	return text + " (" + details + ")"
}

func (l Loss) words() string {
	switch l.Stage {
	case StagePool:
		return "in unusable pools"
	case StageClass:
		return "of other classes"
	case StageSelector:
		return "not selected"
	case StageError:
		return "on which a selector fails"
	case StageInUse:
		return "in use"
	case StageCapacity:
		return "without enough capacity"
	case StageCounters:
		return "blocked"
	case StageTaint:
		return "tainted"
	}
	return string(l.Stage)
}

// lostInShort says of the devices of the class what became of them, in numbers: " (of 4: 2 in use, 2 tainted)".
func (r *Request) lostInShort() string {
	of := r.Devices
	var parts []string
	for _, l := range r.Lost {
		if l.Stage == StageClass {
			of -= l.Devices
			continue
		}
		parts = append(parts, view.Number(l.Devices)+" "+l.words())
	}
	switch {
	case r.Devices > 0 && of == 0:
		return fmt.Sprintf(" (of %s, none is of the class)", view.Count(r.Devices, "device"))
	case len(parts) == 0:
		return ""
	}
	return fmt.Sprintf(" (of %s: %s)", view.Number(of), strings.Join(parts, ", "))
}

// lossesText says all losses in one sentence.
func lossesText(losses []Loss) string {
	var parts []string
	for _, l := range losses {
		parts = append(parts, l.String())
	}
	return strings.Join(parts, ", ")
}
