package hint

import "strings"

// longest is how many bytes a word may have and still be looked up: the words of this program are far shorter,
// and the search takes time in proportion to the product of the lengths.
const longest = 64

// Nearest returns the word of known that got was probably meant to be, for "did you mean". Case does not count.
//
// The distance is counted in insertions, deletions, replacements and swaps of neighbours (Damerau-Levenshtein, each stretch edited once).
// One edit in three letters is allowed, and at least one. Among equally near words the first of known wins.
// It returns false when no word is near enough.
func Nearest(got string, known []string) (string, bool) {
	if got == "" || len(got) > longest {
		return "", false
	}
	typed := []rune(strings.ToLower(got))
	best, nearest := max(1, len(typed)/3)+1, ""
	for _, word := range known {
		if word == "" || len(word) > longest {
			continue
		}
		if d := distance(typed, []rune(strings.ToLower(word))); d < best && d < len([]rune(word)) {
			best, nearest = d, word
		}
	}
	return nearest, nearest != ""
}

// distance is the optimal string alignment distance between a and b.
func distance(a, b []rune) int {
	before := make([]int, len(b)+1) // the row for a[:i-2]
	above := make([]int, len(b)+1)  // the row for a[:i-1]
	row := make([]int, len(b)+1)    // the row for a[:i]
	for j := range row {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := above[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(above[j]+1, row[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
