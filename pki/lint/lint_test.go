package lint

import (
	"slices"
	"testing"

	zlint "github.com/zmap/zlint/v3/lint"

	"omca/pki"
)

func TestSkippedLintsExist(t *testing.T) {
	run := New().lints
	for _, s := range skips() {
		if !slices.ContainsFunc(run, func(l *zlint.CertificateLint) bool { return l.Name == s.lint }) {
			t.Errorf("%s is skipped, and no such lint is run", s.lint)
		}
	}
}

// TestWithoutLints: a linter that was not made by New refuses, and does not pass, what it is shown.
func TestWithoutLints(t *testing.T) {
	cert := extended(t, false)
	for name, l := range map[string]*Linter{"nil": nil, "zero": {}} {
		f := l.Lint(cert)
		if len(f) != 1 || f[0].Severity != pki.SeverityError {
			t.Errorf("a linter that is %s has against a certificate: %v, want an error", name, f)
		}
	}
	unread := *cert
	unread.Raw = []byte{0x30, 0}
	if f := New().Lint(&unread); len(f) != 1 || f[0].Lint != "omca_readable" || f[0].Severity != pki.SeverityError {
		t.Errorf("a certificate that cannot be read: %v, want an error", f)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New()
	}
}
