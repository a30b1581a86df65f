package lint

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"sync"

	zcrypto "github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/community" // these two register their lints
	_ "github.com/zmap/zlint/v3/lints/rfc"

	"omca/pki"
)

// A skip takes a lint of zlint out for the certificates that it is wrong about.
type skip struct {
	lint, reason string
	applies      func(*x509.Certificate) bool
}

// skips is the reviewed list of lints of zlint that we do not follow.
func skips() []skip {
	return []skip{{
		lint:   "e_ext_san_uri_host_not_fqdn_or_ip",
		reason: "a SPIFFE trust domain may be a single label (SPIFFE-ID, 2.1); pki checks the host of every other URI",
		applies: func(c *x509.Certificate) bool {
			return !slices.ContainsFunc(pki.NamesOf(c).URI, func(s string) bool { return !strings.HasPrefix(s, "spiffe://") })
		},
	}, {
		lint:   "e_name_constraint_not_fqdn",
		reason: "a URI constraint may be a SPIFFE trust domain, so a single label; pki checks every constraint that we write",
		applies: func(c *x509.Certificate) bool {
			return !slices.ContainsFunc(slices.Concat(c.PermittedURIDomains, c.ExcludedURIDomains), func(s string) bool {
				_, err := pki.ParseNames([]string{"DNS:" + strings.TrimPrefix(s, ".")})
				return err != nil
			})
		},
	}}
}

// A topic is an extension that some lints of zlint speak of, and of nothing else.
type topic struct {
	word string // in their names
	oid  asn1.ObjectIdentifier
}

// topics are extensions that few certificates have. zlint writes the OID of an extension out for
// each lint that asks for it, which took a hundredth of issuing.
func topics() []topic {
	return []topic{
		{"_ian_", asn1.ObjectIdentifier{2, 5, 29, 18}},
		{"name_constraint", asn1.ObjectIdentifier{2, 5, 29, 30}},
		{"policy_map", asn1.ObjectIdentifier{2, 5, 29, 33}},
		{"policy_constraints", asn1.ObjectIdentifier{2, 5, 29, 36}},
	}
}

// topicOf returns the place of the topic of a lint among topics; -1 when it has none.
func topicOf(lint string, topics []topic) int {
	return slices.IndexFunc(topics, func(t topic) bool { return strings.Contains(lint, t.word) })
}

// A Linter holds the lints to run, chosen once. It is safe for concurrent use. The zero Linter refuses every
// certificate.
type Linter struct {
	lints  []*zlint.CertificateLint
	topics []topic
	about  []int // of each of lints, the place of its topic; -1: none
	skips  []skip
	made   *sync.Pool // of *[]zlint.LintInterface, one for each of lints
}

// New chooses the lints: those of the sources that speak of any X.509
// certificate. The CA/Browser Forum's refuse private names and addresses. Lints
// with names that begin with n_ notice at most, which is no finding here.
func New() *Linter {
	certificates := zlint.GlobalRegistry().CertificateLints()
	l := &Linter{skips: skips(), topics: topics()}
	for _, source := range []zlint.LintSource{
		zlint.RFC5280, zlint.RFC3279, zlint.RFC5480, zlint.RFC5891, zlint.RFC8813, zlint.Community,
	} {
		l.lints = append(l.lints, certificates.BySource(source)...)
	}
	l.lints = slices.DeleteFunc(l.lints, func(lint *zlint.CertificateLint) bool { return strings.HasPrefix(lint.Name, "n_") })
	for _, lint := range l.lints {
		l.about = append(l.about, topicOf(lint.Name, l.topics))
	}
	// A lint looks at one certificate after another, for one goroutine at a time.
	// zlint makes each anew for each certificate, and a result for each that has
	// nothing to say: a tenth of all that issuing allocates.
	l.made = &sync.Pool{New: func() any {
		made := make([]zlint.LintInterface, len(l.lints))
		for i, lint := range l.lints {
			made[i] = lint.Lint()
		}
		return &made
	}}
	return l
}

// Lint returns the findings of zlint on cert, as [pki.Linter] says. Without a lint to run, that is the finding.
func (l *Linter) Lint(cert *x509.Certificate) []pki.Finding {
	if l == nil || len(l.lints) == 0 {
		return unreadable("there are no lints to read it with")
	}
	parsed, err := zcrypto.ParseCertificate(cert.Raw)
	if err != nil {
		return unreadable(err.Error())
	}
	made, ok := l.made.Get().(*[]zlint.LintInterface)
	if !ok {
		return unreadable("there are no lints to read it with")
	}
	defer l.made.Put(made)
	lacks := make([]bool, len(l.topics))
	for i, t := range l.topics {
		lacks[i] = !slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(t.oid) })
	}
	var findings []pki.Finding
	for i, lint := range l.lints {
		if about := l.about[i]; about >= 0 && lacks[about] {
			continue
		}
		result := look((*made)[i], lint, parsed)
		if result == nil || result.Status < zlint.Warn || l.skipped(lint.Name, cert) {
			continue
		}
		severity := pki.SeverityError
		if result.Status == zlint.Warn {
			severity = pki.SeverityWarning
		}
		detail := result.Details
		if detail == "" {
			detail = lint.Description
		}
		findings = append(findings, pki.Finding{Lint: lint.Name, Severity: severity, Citation: lint.Citation, Detail: detail})
	}
	return findings
}

// unreadable is the error that nothing could look at the certificate.
func unreadable(why string) []pki.Finding {
	return []pki.Finding{{Lint: "omca_readable", Severity: pki.SeverityError, Citation: "RFC 5280: 4.1", Detail: why}}
}

// look lets one lint look at a certificate: nil when it does not speak of such a
// certificate. One that panics has met something that it cannot read.
func look(lint zlint.LintInterface, about *zlint.CertificateLint, cert *zcrypto.Certificate) (result *zlint.LintResult) {
	defer func() {
		if v := recover(); v != nil {
			result = &zlint.LintResult{Status: zlint.Fatal, Details: fmt.Sprintf("the lint panicked: %v", v)}
		}
	}()
	if !lint.CheckApplies(cert) || !about.CheckEffective(cert) {
		return nil
	}
	return lint.Execute(cert)
}

func (l *Linter) skipped(name string, cert *x509.Certificate) bool {
	return slices.ContainsFunc(l.skips, func(s skip) bool { return s.lint == name && s.applies(cert) })
}
