package client

import (
	"fmt"
	"strings"
)

// Path addresses one object: namespace/kind/name.
type Path struct {
	Namespace, Kind, Name string
}

// Cluster is the path of the cluster object.
func Cluster() Path { return Path{"root", "ccfg", "cluster"} }

// ParsePath reads a path as typed. Two parts mean namespace root, and the word cluster means the cluster object.
func ParsePath(text string) (Path, error) {
	if text == "cluster" {
		return Cluster(), nil
	}
	parts := strings.Split(text, "/")
	if len(parts) == 2 {
		parts = append([]string{"root"}, parts...)
	}
	if len(parts) != 3 {
		return Path{}, fmt.Errorf("path %q: not of the form NAMESPACE/KIND/NAME", text)
	}
	for _, part := range parts {
		if err := checkPart(part); err != nil {
			return Path{}, fmt.Errorf("path %q: %w", text, err)
		}
	}
	return Path{parts[0], parts[1], parts[2]}, nil
}

// String returns the path as the API spells it.
func (p Path) String() string { return p.Namespace + "/" + p.Kind + "/" + p.Name }

// url is where the object is in the API.
func (p Path) url(rest string) string { return "/api/object/path/" + p.String() + rest }

// checkPart refuses what cannot be a part of a path, so that a path never reaches another route than its own.
func checkPart(part string) error {
	if part == "" || len(part) > 63 {
		return fmt.Errorf("%q has %d characters, not 1 to 63", part, len(part))
	}
	for i, r := range part {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case i > 0 && (r == '-' || r == '.'):
		default:
			return fmt.Errorf("%q is not made of a-z, 0-9, \".\" and \"-\", a letter or digit first", part)
		}
	}
	return nil
}
