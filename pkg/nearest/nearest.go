// Package nearest says which of the names that there are was probably meant by one that there is not.
package nearest

import "strings"

// longest is how long a name may be: those of Kubernetes are shorter, and comparing takes the product of two lengths.
const longest = 1024

// Of returns the candidate that is most like the name, or "" if none is near: at most a third of the letters, or one,
// differ, or only their case. Of several, it is one that is as long, or else the first.
func Of(name string, candidates []string) string {
	if len(name) > longest {
		return ""
	}
	best, least := "", 2*max(1, len(name)/3)+1
	for _, c := range candidates {
		d := Distance(name, c)
		if strings.EqualFold(name, c) {
			d = min(d, 1)
		}
		if d > 0 && (d < least || d == least && len(best) != len(name) && len(c) == len(name)) {
			best, least = c, d
		}
	}
	return best
}

// Distance is twice the number of letters that must be put in, left out, changed or swapped with the next to make b of
// a. Upper case for lower case, or the other way round, counts half.
func Distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	rows := make([][]int, len(from)+1)
	for i := range rows {
		rows[i] = make([]int, len(to)+1)
		rows[i][0] = 2 * i
	}
	for j := range to {
		rows[0][j+1] = 2 * (j + 1)
	}
	for i, x := range from {
		for j, y := range to {
			cost := 2
			switch {
			case x == y:
				cost = 0
			case lower(x) == lower(y):
				cost = 1
			}
			d := min(rows[i][j]+cost, rows[i][j+1]+2, rows[i+1][j]+2)
			if i > 0 && j > 0 && x == to[j-1] && from[i-1] == y {
				d = min(d, rows[i-1][j-1]+2)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(from)][len(to)]
}

func lower(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
