package mock

import (
	"errors"
	"fmt"
)

func parseRemove(words []string) (Command, error) {
	name, rest, err := deviceWord("remove", words)
	if err == nil && len(rest) > 0 {
		err = usage("remove", fmt.Sprintf("%q is one word too many", rest[0]))
	}
	return Command{change: func(c *controls, m machine) (string, error) {
		if _, err := m.find(name, c); err != nil {
			return "", err
		}
		if _, ok := deviceNamed(m.profile, name); ok {
			c.tell(name, deviceControl{Removed: true})
		} else {
			c.tell(name, deviceControl{})
		}
		return name + " is removed", nil
	}}, err
}

func parseAdd(words []string) (Command, error) {
	name, words, err := deviceWord("add", words)
	if err != nil {
		return Command{}, err
	}
	values, err := options("add", words, "like")
	like, given := values["like"]
	return Command{change: func(c *controls, m machine) (string, error) {
		if _, ok := deviceNamed(m.now, name); ok {
			return "", fmt.Errorf("add %s: it is there", name)
		}
		if d, ok := deviceNamed(m.profile, name); ok {
			switch {
			case given:
				return "", fmt.Errorf("add %s: the profile says what it is, so it cannot be like %s; add another name", name, like)
			case c.Devices[d.PartOf].Removed:
				return "", fmt.Errorf("add %s: it is part of %s, which was removed; add that one", name, d.PartOf)
			}
			c.tell(name, deviceControl{})
			return name + " is back", nil
		}
		model, err := m.model(c, like)
		if err != nil {
			return "", fmt.Errorf("add %s: %w", name, err)
		}
		c.tell(name, deviceControl{Like: model})
		return name + " is added; it is like " + model, nil
	}}, err
}

// model returns the device of the profile that a new one is to be like; like is empty for any whole one.
func (m machine) model(c *controls, like string) (string, error) {
	if added := c.Devices[like].Like; added != "" {
		like = added
	}
	if like == "" {
		if first, ok := modelOf(m.profile, ""); ok {
			return first.Name, nil
		}
		return "", errors.New("the profile has no device that it could be like")
	}
	if d, ok := deviceNamed(m.profile, like); !ok || d.PartOf != "" {
		return "", fmt.Errorf("it cannot be like %q, which is no whole device of the profile: %s", like,
			inventoryOf(m.profile))
	}
	return like, nil
}

func parseReset(words []string) (Command, error) {
	if len(words) == 0 {
		return Command{resets: true, change: func(c *controls, _ machine) (string, error) {
			c.Devices, c.Calls = nil, nil
			return "everything is as the profile says", nil
		}}, nil
	}
	name, rest, err := deviceWord("reset", words)
	if err == nil && len(rest) > 0 {
		err = usage("reset", fmt.Sprintf("%q is one word too many", rest[0]))
	}
	return Command{change: func(c *controls, m machine) (string, error) {
		_, told := c.Devices[name]
		_, known := deviceNamed(m.profile, name)
		if !told && !known {
			_, err := m.find(name, c)
			return "", err
		}
		c.tell(name, deviceControl{})
		if !known {
			return name + " is removed, since the profile does not know it", nil
		}
		return name + " is as the profile says", nil
	}}, err
}
