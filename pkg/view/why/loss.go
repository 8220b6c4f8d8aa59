package why

import (
	"fmt"
	"strings"
)

// String says the loss in a few words, for example "3 in use by team-a/train-0 and team-a/train-1".
func (l Loss) String() string {
	text := fmt.Sprintf("%s %s", number(l.Devices), l.words())
	if len(l.Details) == 0 {
		return text
	}
	details := listed(l.Details, mostDetails)
	if l.More > 0 {
		details = fmt.Sprintf("%s and %s more", strings.Join(l.Details, ", "), number(l.More))
	}
	if l.Stage == StageInUse {
		return text + " by " + details
	}
	if l.Stage == StageTaint {
		return text + " " + details
	}
	return text + " (" + details + ")"
}

func (l Loss) words() string {
	switch l.Stage {
	case StagePool:
		return "in pools that are not complete"
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

// lossesText says all losses in one sentence.
func lossesText(losses []Loss) string {
	var parts []string
	for _, l := range losses {
		parts = append(parts, l.String())
	}
	return strings.Join(parts, ", ")
}
