package figures

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// table has its columns aligned for who reads it as text, and bars for who reads it as Markdown.
type table struct {
	header []string
	left   int // so many columns are words, the others numbers
	rows   [][]string
}

func (t table) String() string {
	width := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	t.line(&b, t.header, width)
	for i, w := range width {
		rule := strings.Repeat("-", w)
		if i >= t.left {
			rule = rule[1:] + ":"
		}
		fmt.Fprintf(&b, "| %s ", rule)
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		t.line(&b, row, width)
	}
	return b.String()
}

func (t table) line(b *strings.Builder, cells []string, width []int) {
	for i, cell := range cells {
		space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
		if i < t.left {
			fmt.Fprintf(b, "| %s%s ", cell, space)
		} else {
			fmt.Fprintf(b, "| %s%s ", space, cell)
		}
	}
	b.WriteString("|\n")
}
