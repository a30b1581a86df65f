package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A Severity says whether a finding stops a signature.
type Severity string

// The severities. A draft with an error is refused.
const (
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error"
)

// A Finding is what a lint has against a certificate.
type Finding struct {
	Lint     string // "e_ext_san_uri_relative" (zlint), "omca_eku_by_profile" (ours)
	Severity Severity
	Citation string // document and section
	Detail   string
}

// A Linter looks at every draft of an [Issuer] before its key signs. It brings the lints that hold for any
// X.509 certificate; those about a profile are this package's own and always run.
type Linter interface {
	// Lint returns the findings on cert, none for a certificate that is well made. It must return an error,
	// and never nothing, for a certificate that it cannot look at: without a finding the draft is signed.
	// Several goroutines call it at once, and it must not keep or change cert.
	Lint(cert *x509.Certificate) []Finding
}

// Lint holds cert against our own lints and those of linter, in this order.
// issuer is the certificate of its issuer (cert itself for a root), nil when
// that is not known; with the zero Profile the lints about its use are left
// out. No finding means that it is well made, not that it is valid. A nil linter
// is a finding itself.
func Lint(linter Linter, cert, issuer *x509.Certificate, profile Profile) []Finding {
	findings := ownFindings(cert, issuer, profile)
	if linter == nil {
		return append(findings, Finding{"omca_linted", SeverityError, "RFC 5280: 4.1", errNoLinter.Error()})
	}
	return append(findings, linter.Lint(cert)...)
}

// errNoLinter is the mistake of a program, not of its input.
var errNoLinter = errors.New("an issuer needs a linter, such as that of pki/lint")

// refusal returns ErrInvalid with every finding that is an error, nil without one.
func refusal(findings []Finding) error {
	var errs []string
	for _, f := range findings {
		if f.Severity == SeverityError {
			errs = append(errs, fmt.Sprintf("%s: %s (%s)", f.Lint, f.Detail, f.Citation))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(errs, "; "))
}

// A lintee is what our own lints look at.
type lintee struct {
	*x509.Certificate
	issuer  *x509.Certificate // nil when not known
	profile Profile           // zero when not known
}

// A lint of ours says what is wrong, "" for nothing.
type lint struct {
	name, citation string
	check          func(lintee) string
}

// ownLints is the table of our lints.
func ownLints() []lint {
	return []lint{
		{"omca_serial", "RFC 5280: 4.1.2.2", lintSerial},
		{"omca_empty_rdn", "X.520: attributes have a minimum size of 1", lintEmptyRDN},
		{"omca_validity_order", "RFC 5280: 4.1.2.5", lintValidityOrder},
		{"omca_key_identifiers", "RFC 5280: 4.2.1.1, 4.2.1.2", lintKeyIdentifiers},
		{lintLifeName, "RFC 5280: 6.1", lintLife},
		{"omca_issuer_differs", "RFC 5280: 4.1.2.4", lintIssuer},
		{"omca_basic_constraints", "RFC 5280: 4.2.1.9", lintBasicConstraints},
		{"omca_key_usage_by_profile", "RFC 5280: 4.2.1.3", lintKeyUsage},
		{"omca_eku_by_profile", "RFC 5280: 4.2.1.12", lintExtKeyUsage},
		{"omca_san_by_profile", "RFC 9525: 4.1", lintNames},
		{"omca_no_check_by_profile", "RFC 6960: 4.2.2.2.1", lintNoCheck},
	}
}

func ownFindings(cert, issuer *x509.Certificate, profile Profile) []Finding {
	var findings []Finding
	for _, lint := range ownLints() {
		if detail := lint.check(lintee{cert, issuer, profile}); detail != "" {
			findings = append(findings, Finding{lint.name, SeverityError, lint.citation, detail})
		}
	}
	return findings
}

// lintSerial: RFC 5280 wants a positive number of at most 20 octets; 64 bits
// of it are what the CA/Browser Forum wants from a random source.
func lintSerial(c lintee) string {
	switch n := c.SerialNumber; {
	case n.Sign() <= 0:
		return "serial number is not positive"
	case n.BitLen() > 8*maxSerialOctets-1:
		return fmt.Sprintf("serial number of %d bits does not fit 20 octets", n.BitLen())
	case n.BitLen() < 64:
		return fmt.Sprintf("serial number of %d bits cannot have 64 random ones", n.BitLen())
	}
	return ""
}

func lintEmptyRDN(c lintee) string {
	dn := cryptobyte.String(c.RawSubject)
	if !dn.ReadASN1(&dn, cryptobyte_asn1.SEQUENCE) {
		return "subject is no sequence"
	}
	for !dn.Empty() {
		var rdn, attribute, value cryptobyte.String
		if !dn.ReadASN1(&rdn, cryptobyte_asn1.SET) || rdn.Empty() {
			return "subject has an RDN without an attribute"
		}
		for !rdn.Empty() {
			if !rdn.ReadASN1(&attribute, cryptobyte_asn1.SEQUENCE) ||
				!attribute.SkipASN1(cryptobyte_asn1.OBJECT_IDENTIFIER) ||
				!attribute.ReadAnyASN1(&value, new(cryptobyte_asn1.Tag)) || value.Empty() {
				return "subject has an attribute without a value"
			}
		}
	}
	return ""
}

func lintValidityOrder(c lintee) string {
	if c.NotAfter.Before(c.NotBefore) {
		return fmt.Sprintf("notAfter %s is before notBefore %s", c.NotAfter, c.NotBefore)
	}
	return ""
}

func lintKeyIdentifiers(c lintee) string {
	selfIssued := bytes.Equal(c.RawIssuer, c.RawSubject)
	switch {
	case len(c.SubjectKeyId) == 0:
		return "no subject key identifier"
	case len(c.AuthorityKeyId) == 0 && !selfIssued:
		return "no authority key identifier"
	case c.issuer == nil || len(c.AuthorityKeyId) == 0 || len(c.issuer.SubjectKeyId) == 0:
		return ""
	case !bytes.Equal(c.AuthorityKeyId, c.issuer.SubjectKeyId):
		return fmt.Sprintf("authority key identifier is %x, the issuer's subject key identifier %x", c.AuthorityKeyId, c.issuer.SubjectKeyId)
	}
	return ""
}

// lintLifeName names the lint that Terms.Outlives does without.
const lintLifeName = "omca_life_within_issuer"

func lintLife(c lintee) string {
	if c.issuer == nil || !c.NotBefore.Before(c.issuer.NotBefore) && !c.NotAfter.After(c.issuer.NotAfter) {
		return ""
	}
	return fmt.Sprintf("valid from %s to %s, its issuer only from %s to %s",
		c.NotBefore, c.NotAfter, c.issuer.NotBefore, c.issuer.NotAfter)
}

// lintIssuer: a leaf, or a subordinate CA, with its issuer's name is taken for
// self-signed.
func lintIssuer(c lintee) string {
	root := c.issuer != nil && SameKey(c.PublicKey, c.issuer.PublicKey)
	if bytes.Equal(c.RawIssuer, c.RawSubject) && !(c.IsCA && root) {
		return fmt.Sprintf("subject and issuer are both %q", c.Subject)
	}
	return ""
}

func lintBasicConstraints(c lintee) string {
	switch {
	case c.profile.Name == "":
		return ""
	case !c.BasicConstraintsValid || !critical(c, asn1.ObjectIdentifier{2, 5, 29, 19}):
		return "no critical basicConstraints"
	case c.IsCA != c.profile.IsCA:
		return fmt.Sprintf("CA is %t, profile %q wants %t", c.IsCA, c.profile.Name, c.profile.IsCA)
	}
	return ""
}

func lintKeyUsage(c lintee) string {
	if c.profile.Name == "" {
		return ""
	}
	if want := c.profile.keyUsage(c.PublicKeyAlgorithm); c.KeyUsage != want || !critical(c, asn1.ObjectIdentifier{2, 5, 29, 15}) {
		return fmt.Sprintf("key usage is %s, profile %q wants %s, critical", c.KeyUsage, c.profile.Name, want)
	}
	return ""
}

func lintExtKeyUsage(c lintee) string {
	if c.profile.Name == "" {
		return ""
	}
	if want := c.profile.extKeyUsage(); !slices.Equal(c.ExtKeyUsage, want) || len(c.UnknownExtKeyUsage) > 0 {
		return fmt.Sprintf("extended key usage is %s, profile %q wants %s", c.ExtKeyUsage, c.profile.Name, want)
	}
	return ""
}

func lintNames(c lintee) string {
	names := NamesOf(c.Certificate)
	if c.profile.needsNames && names.Empty() {
		return fmt.Sprintf("no subject alternative name, profile %q wants one", c.profile.Name)
	}
	// A client is known by its SPIFFE ID. Its common name need not be a host's, whatever it looks like.
	if host, ok := hostName(c.Subject.CommonName); ok && c.profile.Name != "" && !c.profile.clientOnly() && !slices.Contains(names.DNS, host) {
		return fmt.Sprintf("common name %q is a host name and no subject alternative name", host)
	}
	return ""
}

// lintNoCheck: who is told not to ask whether a certificate is revoked takes a
// revoked one for good.
func lintNoCheck(c lintee) string {
	has := slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidNoCheck()) })
	if c.profile.Name == "" || has == c.profile.ocspSigning {
		return ""
	}
	return fmt.Sprintf("id-pkix-ocsp-nocheck is there: %t, profile %q wants %t", has, c.profile.Name, c.profile.ocspSigning)
}

// critical reports whether c has the extension and marks it critical.
func critical(c lintee, oid asn1.ObjectIdentifier) bool {
	for _, extension := range c.Extensions {
		if extension.Id.Equal(oid) {
			return extension.Critical
		}
	}
	return false
}
