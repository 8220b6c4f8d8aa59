package mock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func parseSlow(words []string) (Command, error) {
	values, err := options("slow", words, "prepare", "unprepare", "look")
	if err != nil {
		return Command{}, err
	}
	if len(values) == 0 {
		return Command{}, usage("slow", "it is missing what is to be slow")
	}
	waits := map[call]time.Duration{}
	for key, value := range values {
		wait, err := time.ParseDuration(value)
		if err != nil || wait < 0 || wait > maxWait {
			return Command{}, usage("slow", fmt.Sprintf("%s=%s is no time from 0s to %s", key, value, maxWait))
		}
		waits[call(key)] = wait
	}
	return Command{change: func(c *controls, _ machine) (string, error) {
		var said []string
		for _, name := range calls() {
			wait, ok := waits[name]
			if !ok {
				continue
			}
			told := c.Calls[name]
			told.Slow.Duration = wait
			c.tellCall(name, told)
			if wait > 0 {
				said = append(said, fmt.Sprintf("each %s takes %s longer", name, wait))
			} else {
				said = append(said, fmt.Sprintf("%s is as fast as before", name))
			}
		}
		return strings.Join(said, "\n"), nil
	}}, nil
}

func (c *controls) tellCall(name call, told callControl) {
	if told == (callControl{}) {
		delete(c.Calls, name)
		return
	}
	if c.Calls == nil {
		c.Calls = map[call]callControl{}
	}
	c.Calls[name] = told
}

func parseFail(words []string) (Command, error) {
	if len(words) == 0 || !slices.Contains(calls(), call(words[0])) {
		return Command{}, usage("fail", "it is missing what is to fail")
	}
	name := call(words[0])
	values, err := options("fail", words[1:], "times", "message")
	if err != nil {
		return Command{}, err
	}
	told := &failure{Message: values["message"]}
	if told.Message == "" {
		told.Message = fmt.Sprintf("made-up hardware was told to fail (dragoman mock fail %s)", name)
	}
	if err := isSentence(told.Message); err != nil {
		return Command{}, usage("fail", "message: "+err.Error())
	}
	if times, ok := values["times"]; ok {
		n, err := strconv.Atoi(times)
		if err != nil || n < 0 || n > maxFailures {
			return Command{}, usage("fail", fmt.Sprintf("times=%s is no number from 0 to %d", times, maxFailures))
		}
		if told.Times = n; n == 0 {
			told = nil
		}
	}
	return Command{change: func(c *controls, _ machine) (string, error) {
		control := c.Calls[name]
		control.Fail = told
		c.tellCall(name, control)
		if told == nil {
			return fmt.Sprintf("%s does not fail any more", name), nil
		}
		return told.show(name), nil
	}}, nil
}
