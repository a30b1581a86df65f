package object

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/usr/clustercockpit"
)

// TestRoles: a role that the keyword accepts can be put into a token, and the other way round.
func TestRoles(t *testing.T) {
	k, err := LookupKeyword(KindUsr, "roles")
	if err != nil {
		t.Fatal(err)
	}
	var roles []clustercockpit.Role
	for _, word := range k.Choices {
		roles = append(roles, clustercockpit.Role(word))
	}
	if diff := cmp.Diff(clustercockpit.Roles(), roles); diff != "" {
		t.Errorf("roles of the keyword (-ClusterCockpit +ours):\n%s", diff)
	}
}
