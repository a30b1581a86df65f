package console

import (
	"maps"
	"slices"
)

// Patterns are all pages, as the mux knows them.
func Patterns() []string { return slices.Sorted(maps.Keys(pages())) }
