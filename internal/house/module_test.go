package house

import (
	"go/version"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestGoOfTheModule: go.mod names the release of Go that the tests run with, to the last number, so that a build with an
// earlier one, which has known faults in crypto/x509 and crypto/tls, is refused.
func TestGoOfTheModule(t *testing.T) {
	const least = "go1.26.8"
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^go (.*)$`).FindStringSubmatch(string(text))
	if line == nil || !version.IsValid("go"+line[1]) || version.Compare("go"+line[1], least) < 0 {
		t.Errorf("go.mod says %q, expected %s or later", line, least)
	}
	// A toolchain line that names the same release is one that "go mod tidy" takes out.
	if strings.Contains(string(text), "\ntoolchain ") {
		t.Error("go.mod has a toolchain line beside the go line")
	}
}
