package console

import (
	"net/url"
	"slices"
	"strings"

	"omca/internal/wire"
)

// objectList is a page of objects, by path.
type objectList struct {
	Items []wire.ObjectItem
	Total int
	Next  string // the last path of the page; "" on the last one
}

// objects reads the page of what a selector selects that begins behind a path.
func (v *visit) objects(selector, after string) (objectList, error) {
	paths, err := get[[]string](v, "/api/object/path", url.Values{"path": {selector}})
	if err != nil {
		return objectList{}, err
	}
	list := objectList{Total: len(paths)}
	slices.Sort(paths)
	at, found := slices.BinarySearch(paths, after)
	if found {
		at++
	}
	paths = paths[at:]
	if len(paths) > pageSize {
		paths = paths[:pageSize]
		list.Next = paths[pageSize-1]
	}
	// A selector has a bound: a page takes as many questions as it needs.
	const most = 16
	for part := range slices.Chunk(paths, most) {
		some, err := get[wire.ObjectList](v, "/api/object", url.Values{"path": {strings.Join(part, ",")}})
		if err != nil {
			return objectList{}, err
		}
		list.Items = append(list.Items, some.Items...)
	}
	return list, nil
}

// glob is what to look for as a pattern of a part of a path; ok is false for what
// is in no path.
func glob(text string) (pattern string, ok bool) {
	const most = 60
	if text == "" {
		return "*", true
	}
	if len(text) > most || strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(".-*", r)
	}) {
		return "", false
	}
	return "*" + text + "*", true
}
