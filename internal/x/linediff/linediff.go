// Package linediff compares two texts line by line, for people who read them beside each
// other.
package linediff

import "slices"

// MaxLines bounds each text: the time and the memory of a comparison grow with the product
// of what differs.
const MaxLines = 1000

// Row is a line of both texts, or of one of them. Lines that differ stand beside each other
// if they are in the same place.
type Row struct {
	// NA and NB are the numbers of the lines, from 1; 0 if the text has none here.
	NA, NB int
	A, B   string
	// Left is how many equal lines were left out here, in place of a line.
	Left int
}

// Same reports whether both texts have this line.
func (r Row) Same() bool { return r.NA > 0 && r.NB > 0 && r.A == r.B }

// Compare returns the rows of two texts, of which it looks at the first [MaxLines]. As many
// lines as possible are the same, and stay in their order.
func Compare(a, b []string) []Row {
	a, b = a[:min(len(a), MaxLines)], b[:min(len(b), MaxLines)]
	begin := 0
	for begin < len(a) && begin < len(b) && a[begin] == b[begin] {
		begin++
	}
	end := 0
	for end < len(a)-begin && end < len(b)-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	c := comparison{a: a, b: b}
	c.same(begin)
	c.middle(a[begin:len(a)-end], b[begin:len(b)-end])
	c.same(end)
	return c.rows
}

// comparison makes the rows of two texts, from their beginnings on.
type comparison struct {
	a, b []string
	i, j int // the lines that have no row yet
	rows []Row
}

// same adds n lines that both have.
func (c *comparison) same(n int) {
	for range n {
		c.rows = append(c.rows, Row{NA: c.i + 1, NB: c.j + 1, A: c.a[c.i], B: c.b[c.j]})
		c.i, c.j = c.i+1, c.j+1
	}
}

// differ adds n lines of one text beside m lines of the other.
func (c *comparison) differ(n, m int) {
	for k := range max(n, m) {
		var row Row
		if k < n {
			row.NA, row.A = c.i+1, c.a[c.i]
			c.i++
		}
		if k < m {
			row.NB, row.B = c.j+1, c.b[c.j]
			c.j++
		}
		c.rows = append(c.rows, row)
	}
}

// middle adds the lines in which the texts differ, or are the same again. longest has the
// length of the longest common sequence of the lines from i and from j on.
func (c *comparison) middle(a, b []string) {
	width := len(b) + 1
	longest := make([]uint16, (len(a)+1)*width)
	for i, ours := range slices.Backward(a) {
		for j, theirs := range slices.Backward(b) {
			if ours == theirs {
				longest[i*width+j] = longest[(i+1)*width+j+1] + 1
			} else {
				longest[i*width+j] = max(longest[(i+1)*width+j], longest[i*width+j+1])
			}
		}
	}
	i, j, n, m := 0, 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			c.differ(n, m)
			c.same(1)
			i, j, n, m = i+1, j+1, 0, 0
		case longest[(i+1)*width+j] >= longest[i*width+j+1]:
			i, n = i+1, n+1
		default:
			j, m = j+1, m+1
		}
	}
	c.differ(n+len(a)-i, m+len(b)-j)
}

// Fold leaves out the lines that both texts have, except for some around each difference.
func Fold(rows []Row, around int) []Row {
	near := make([]bool, len(rows))
	for i, row := range rows {
		if row.Same() {
			continue
		}
		for k := max(0, i-around); k < min(len(rows), i+around+1); k++ {
			near[k] = true
		}
	}
	var folded []Row
	for i, row := range rows {
		switch {
		case near[i]:
			folded = append(folded, row)
		case len(folded) > 0 && folded[len(folded)-1].Left > 0:
			folded[len(folded)-1].Left++
		default:
			folded = append(folded, Row{Left: 1})
		}
	}
	return folded
}
