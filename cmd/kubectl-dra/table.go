package main

import (
	"strings"
	"unicode/utf8"
)

// table is text in columns, as kubectl prints it: three spaces between them, titles in capitals, "-" for nothing.
type table struct {
	header []string
	rows   [][]tableCell
	// widths are those of the columns so far; they only grow, so that rows which come later stand below.
	widths []int
}

// tableCell may have several lines; those below the first stand below it.
type tableCell struct {
	lines []string
	tone  tone
	// blank says that nothing is shown as nothing: for notes, which most rows do not have.
	blank bool
}

func (t *table) add(cells ...tableCell) { t.rows = append(t.rows, cells) }

// writeTo writes the header and all rows.
func (t *table) writeTo(s *screen) {
	t.measure()
	if len(t.header) > 0 {
		t.writeRow(s, titles(t.header))
	}
	for _, row := range t.rows {
		t.writeRow(s, row)
	}
}

// measure makes the columns wide enough for the header and all rows.
func (t *table) measure() {
	t.widen(titles(t.header))
	for _, row := range t.rows {
		t.widen(row)
	}
}

func titles(header []string) []tableCell {
	cells := make([]tableCell, 0, len(header))
	for _, title := range header {
		cells = append(cells, tableCell{lines: []string{title}})
	}
	return cells
}

func (t *table) widen(row []tableCell) {
	for i, cell := range row {
		if i == len(t.widths) {
			t.widths = append(t.widths, 1)
		}
		for _, line := range cell.lines {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(visible(line)))
		}
	}
}

// writeRow writes a row with the widths so far.
func (t *table) writeRow(s *screen, row []tableCell) {
	height := 1
	for _, cell := range row {
		height = max(height, len(cell.lines))
	}
	for n := range height {
		var parts []span
		gap := 0 // spaces owed; none at the end of a line
		for i, cell := range row {
			line := ""
			if n < len(cell.lines) {
				line = visible(cell.lines[n])
			}
			if n == 0 && line == "" && !cell.blank {
				line = "-"
			}
			if line != "" {
				parts = append(parts, span{text: strings.Repeat(" ", gap)}, span{cell.tone, line})
				gap = 0
			}
			gap += t.widths[i] - utf8.RuneCountInString(line) + columnGap
		}
		s.line(parts...)
	}
}

const columnGap = 3
