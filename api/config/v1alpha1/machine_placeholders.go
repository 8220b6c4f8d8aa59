package v1alpha1

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// filling is what the placeholders of one device stand for.
type filling struct {
	index, groupIndex int
	nodeName          string
	part              *partFilling // nil for a whole device
}

// partFilling is what the placeholders stand for that only parts have.
type partFilling struct {
	device, name string
	number       int    // of the slot or the copy
	seed         string // of the UUID
}

var (
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	numbered    = regexp.MustCompile(`^\{(index|groupIndex|start|copy)(?::(0?[1-9]?[dx]))?\}$`)
	named       = regexp.MustCompile(`^\{(uuid|partUUID|device|name)\}$`)
)

// text returns the template with all placeholders replaced. What is none stays.
func (f filling) text(template string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	return placeholder.ReplaceAllStringFunc(template, func(s string) string {
		if parts := numbered.FindStringSubmatch(s); parts != nil {
			number, ok := f.number(parts[1])
			switch {
			case !ok:
				return s
			case parts[2] == "":
				return strconv.Itoa(number)
			default:
				return fmt.Sprintf("%"+parts[2], number)
			}
		}
		if parts := named.FindStringSubmatch(s); parts != nil {
			return f.name(parts[1])
		}
		return s
	})
}

// number returns the number that a placeholder stands for.
func (f filling) number(name string) (int, bool) {
	switch {
	case name == "index":
		return f.index, true
	case name == "groupIndex":
		return f.groupIndex, true
	case f.part != nil:
		return f.part.number, true
	}
	return 0, false
}

// name returns the text that a placeholder stands for.
func (f filling) name(name string) string {
	switch {
	case name == "uuid":
		return f.uuid()
	case f.part == nil:
		return "{" + name + "}"
	case name == "partUUID":
		return f.partUUID()
	case name == "device":
		return f.part.device
	default:
		return f.part.name
	}
}

func (f filling) attribute(a Attribute) Attribute {
	switch {
	case a.String != nil && strings.Contains(*a.String, "{"):
		return Attribute{String: new(f.text(*a.String))}
	case a.Int != nil && a.Int.template != "":
		number, _ := f.number(strings.Trim(a.Int.template, "{}"))
		return Attribute{Int: &Integer{value: int64(number)}}
	}
	return a
}

func (f filling) uuid() string {
	return uuidOf("dragoman.example.com/device\x00" + f.nodeName + "\x00" + strconv.Itoa(f.index))
}

func (f filling) partUUID() string {
	return uuidOf("dragoman.example.com/part\x00" + f.nodeName + "\x00" + strconv.Itoa(f.index) + "\x00" + f.part.seed)
}

// uuidOf is a version 8 UUID: its bits are this program's own choice (RFC 9562).
func uuidOf(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// context is what a text belongs to: that decides which placeholders it may contain.
type context int

const (
	ofDevice context = iota
	ofStart          // a part with slots
	ofCopy           // a part without
)

// numbers and names are the placeholders that there are.
func (c context) placeholders() (numbers, names []string) {
	numbers, names = []string{"index", "groupIndex"}, []string{"uuid"}
	switch c {
	case ofStart:
		return append(numbers, "start"), append(names, "partUUID", "device", "name")
	case ofCopy:
		return append(numbers, "copy"), append(names, "partUUID", "device", "name")
	default:
		return numbers, names
	}
}

// validate checks that the template contains no placeholders but those that there are.
func (c context) validate(template string, at *field.Path) field.ErrorList {
	numbers, names := c.placeholders()
	for _, s := range placeholder.FindAllString(template, -1) {
		if parts := numbered.FindStringSubmatch(s); parts != nil && slices.Contains(numbers, parts[1]) {
			continue
		}
		if parts := named.FindStringSubmatch(s); parts != nil && slices.Contains(names, parts[1]) {
			continue
		}
		return field.ErrorList{field.Invalid(at, s, fmt.Sprintf(
			"unknown placeholder; there are {%s}, and with a format {index:02x}",
			strings.Join(slices.Concat(numbers, names), "}, {")))}
	}
	return nil
}

// validateInteger checks that the number is none that only parts have.
func (c context) validateInteger(i *Integer, at *field.Path) field.ErrorList {
	if i == nil || i.template == "" {
		return nil
	}
	return c.validate(i.template, at)
}

func validatePlaceholders(template string, at *field.Path) field.ErrorList {
	return ofDevice.validate(template, at)
}
