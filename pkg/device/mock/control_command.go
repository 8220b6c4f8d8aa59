package mock

import (
	"fmt"
	"slices"
	"strings"

	"example.com/dragoman/pkg/device"
)

// Command is one thing that a made-up machine can be told, see [Commands].
type Command struct {
	// change makes the controls what they shall be, and says to people what that means.
	change func(c *controls, m machine) (said string, err error)
	// only says that the command changes nothing.
	onlyShows bool
	// resets says that the controls before do not matter, so that it works also when they cannot be read.
	resets bool
	// counts says that a look at the devices shows nothing of the change.
	counts bool
}

// machine is what a command is about.
type machine struct {
	node string
	// profile is the machine of the profile, now is that with what was told of it.
	profile, now device.Snapshot
}

// CommandHelp is how a command is written and what it does, for people.
type CommandHelp struct{ Usage, Does string }

// Commands are all commands that [ParseCommand] understands.
func Commands() []CommandHelp {
	return []CommandHelp{
		{`set DEVICE health=unhealthy [reason="…"]`, "make it sick, and its parts too"},
		{"set DEVICE health=healthy", "make it well again"},
		{"set DEVICE taint=KEY[=VALUE]:EFFECT", "add a taint: NoSchedule, NoExecute or None"},
		{"set DEVICE taint=KEY[:EFFECT]-", "take that taint away; taint- takes all away"},
		{"remove DEVICE", "pull it out"},
		{"add DEVICE [like=OTHER]", "put it back, or a new one in, like another"},
		{"slow [prepare=2s] [unprepare=2s] [look=2s]", "let calls take longer; 0s ends it"},
		{`fail prepare|unprepare|look [times=N] [message="…"]`, "let calls fail, always or N times; times=0 ends it"},
		{"reset [DEVICE]", "undo what was told, of one device or all of it"},
		{"show", "say what was told and what there is now"},
	}
}

// SyntaxError says that words are no command.
type SyntaxError struct{ text string }

func (e *SyntaxError) Error() string { return e.text }

func notCommand(format string, args ...any) error { return &SyntaxError{fmt.Sprintf(format, args...)} }

// verbs are the first words of commands.
func verbs() map[string]func(words []string) (Command, error) {
	return map[string]func([]string) (Command, error){
		"set": parseSet, "remove": parseRemove, "add": parseAdd, "slow": parseSlow, "fail": parseFail,
		"reset": parseReset, "show": parseShow,
	}
}

// ParseCommand understands the words of a command line. An error is a *[SyntaxError]. Whether the machine has such a
// device is found out by [Backend.Tell].
func ParseCommand(words []string) (Command, error) {
	if len(words) == 0 {
		return Command{}, notCommand("a verb is missing; there are: %s", verbNames())
	}
	parse, ok := verbs()[words[0]]
	if !ok {
		return Command{}, notCommand("unknown verb %q; there are: %s", words[0], verbNames())
	}
	return parse(words[1:])
}

func verbNames() string {
	var names []string
	for _, c := range Commands() {
		if verb, _, _ := strings.Cut(c.Usage, " "); !slices.Contains(names, verb) {
			names = append(names, verb)
		}
	}
	return strings.Join(names, ", ")
}

// usage is the error for words that do not make up the command.
func usage(verb, problem string) error {
	var ways []string
	for _, c := range Commands() {
		if first, _, _ := strings.Cut(c.Usage, " "); first == verb {
			ways = append(ways, c.Usage)
		}
	}
	return notCommand("%s: %s; it is written: %s", verb, problem, strings.Join(ways, ", or "))
}

// deviceWord takes the name of a device from the beginning of the words.
func deviceWord(verb string, words []string) (name string, rest []string, err error) {
	if len(words) == 0 || strings.Contains(words[0], "=") {
		return "", nil, usage(verb, "the name of a device is missing")
	}
	if err := isDeviceName(words[0]); err != nil {
		return "", nil, usage(verb, fmt.Sprintf("%q: %v", words[0], err))
	}
	return words[0], words[1:], nil
}

// options reads words key=value of which each key comes once.
func options(verb string, words []string, known ...string) (map[string]string, error) {
	values := map[string]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if _, twice := values[key]; !ok || twice || !slices.Contains(known, key) {
			return nil, usage(verb, fmt.Sprintf("%q is none of what can follow: %s=…, each once", word,
				strings.Join(known, "=…, ")))
		}
		values[key] = value
	}
	return values, nil
}

// find returns a device that is there now.
func (m machine) find(name string, c *controls) (device.Device, error) {
	if d, ok := deviceNamed(m.now, name); ok {
		return d, nil
	}
	away := name
	if d, ok := deviceNamed(m.profile, name); ok && !c.Devices[name].Removed {
		away = d.PartOf
	}
	if c.Devices[away].Removed {
		return device.Device{}, fmt.Errorf("device %q was removed; \"dragoman mock add %s\" puts it back", name, away)
	}
	return device.Device{}, fmt.Errorf("device %q is not on node %s: %s", name, m.node, inventoryOf(m.now))
}

func deviceNamed(s device.Snapshot, name string) (device.Device, bool) {
	at := slices.IndexFunc(s.Devices, func(d device.Device) bool { return d.Name == name })
	if at < 0 {
		return device.Device{}, false
	}
	return s.Devices[at], true
}
