package crl_test

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"omca/crl"
	"omca/pki"
)

// nistData returns the directory of the Public Key Interoperability Test Suite of
// NIST, as the Debian package python3-cryptography-vectors has it, or as
// OMCA_TEST_PKITS names it.
func nistData(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("OMCA_TEST_PKITS")
	if dir == "" {
		dir = "/usr/lib/python3/dist-packages/cryptography_vectors/x509/PKITS_data"
	}
	if _, err := os.Stat(filepath.Join(dir, "certs")); err != nil {
		if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), "pkits") {
			t.Fatalf("OMCA_TEST_REQUIRE names pkits: %v", err)
		}
		t.Skipf("no PKITS data, install python3-cryptography-vectors: %v", err)
	}
	return dir
}

// nistCase is one test of the suite: a path, end entity first, without the trust
// anchor, and whether it is valid.
type nistCase struct {
	number string
	valid  bool
	path   []string
}

// nistCases are those of the sections that are asked.
func nistCases() []nistCase {
	return slices.Concat(nistNames(), nistRevocation(), nistUsage(), nistPoints(), nistDeltas())
}

func nistNames() []nistCase {
	return []nistCase{
		{"4.3.1", false, []string{"InvalidNameChainingTest1EE", "GoodCACert"}},
		{"4.3.2", false, []string{"InvalidNameChainingOrderTest2EE", "NameOrderingCACert"}},
		{"4.3.3", true, []string{"ValidNameChainingWhitespaceTest3EE", "GoodCACert"}},
		{"4.3.4", true, []string{"ValidNameChainingWhitespaceTest4EE", "GoodCACert"}},
		{"4.3.5", true, []string{"ValidNameChainingCapitalizationTest5EE", "GoodCACert"}},
		{"4.3.6", true, []string{"ValidNameUIDsTest6EE", "UIDCACert"}},
		{"4.3.7", true, []string{"ValidRFC3280MandatoryAttributeTypesTest7EE", "RFC3280MandatoryAttributeTypesCACert"}},
		{"4.3.8", true, []string{"ValidRFC3280OptionalAttributeTypesTest8EE", "RFC3280OptionalAttributeTypesCACert"}},
		{"4.3.9", true, []string{"ValidUTF8StringEncodedNamesTest9EE", "UTF8StringEncodedNamesCACert"}},
		{"4.3.10", true, []string{"ValidRolloverfromPrintableStringtoUTF8StringTest10EE", "RolloverfromPrintableStringtoUTF8StringCACert"}},
		{"4.3.11", true, []string{"ValidUTF8StringCaseInsensitiveMatchTest11EE", "UTF8StringCaseInsensitiveMatchCACert"}},
	}
}

func nistRevocation() []nistCase {
	return []nistCase{
		{"4.4.1", false, []string{"InvalidMissingCRLTest1EE", "NoCRLCACert"}},
		{"4.4.2", false, []string{"InvalidRevokedCATest2EE", "RevokedsubCACert", "GoodCACert"}},
		{"4.4.3", false, []string{"InvalidRevokedEETest3EE", "GoodCACert"}},
		{"4.4.4", false, []string{"InvalidBadCRLSignatureTest4EE", "BadCRLSignatureCACert"}},
		{"4.4.5", false, []string{"InvalidBadCRLIssuerNameTest5EE", "BadCRLIssuerNameCACert"}},
		{"4.4.6", false, []string{"InvalidWrongCRLTest6EE", "WrongCRLCACert"}},
		{"4.4.7", true, []string{"ValidTwoCRLsTest7EE", "TwoCRLsCACert"}},
		{"4.4.8", false, []string{"InvalidUnknownCRLEntryExtensionTest8EE", "UnknownCRLEntryExtensionCACert"}},
		{"4.4.9", false, []string{"InvalidUnknownCRLExtensionTest9EE", "UnknownCRLExtensionCACert"}},
		{"4.4.10", false, []string{"InvalidUnknownCRLExtensionTest10EE", "UnknownCRLExtensionCACert"}},
		{"4.4.11", false, []string{"InvalidOldCRLnextUpdateTest11EE", "OldCRLnextUpdateCACert"}},
		{"4.4.12", false, []string{"Invalidpre2000CRLnextUpdateTest12EE", "pre2000CRLnextUpdateCACert"}},
		{"4.4.13", true, []string{"ValidGeneralizedTimeCRLnextUpdateTest13EE", "GeneralizedTimeCRLnextUpdateCACert"}},
		{"4.4.14", true, []string{"ValidNegativeSerialNumberTest14EE", "NegativeSerialNumberCACert"}},
		{"4.4.15", false, []string{"InvalidNegativeSerialNumberTest15EE", "NegativeSerialNumberCACert"}},
		{"4.4.16", true, []string{"ValidLongSerialNumberTest16EE", "LongSerialNumberCACert"}},
		{"4.4.17", true, []string{"ValidLongSerialNumberTest17EE", "LongSerialNumberCACert"}},
		{"4.4.18", false, []string{"InvalidLongSerialNumberTest18EE", "LongSerialNumberCACert"}},
		{"4.4.19", true, []string{"ValidSeparateCertificateandCRLKeysTest19EE", "SeparateCertificateandCRLKeysCertificateSigningCACert"}},
		{"4.4.20", false, []string{"InvalidSeparateCertificateandCRLKeysTest20EE", "SeparateCertificateandCRLKeysCertificateSigningCACert"}},
		{"4.4.21", false, []string{"InvalidSeparateCertificateandCRLKeysTest21EE", "SeparateCertificateandCRLKeysCA2CertificateSigningCACert"}},
	}
}

func nistUsage() []nistCase {
	return []nistCase{
		{"4.7.1", false, []string{"InvalidkeyUsageCriticalkeyCertSignFalseTest1EE", "keyUsageCriticalkeyCertSignFalseCACert"}},
		{"4.7.2", false, []string{"InvalidkeyUsageNotCriticalkeyCertSignFalseTest2EE", "keyUsageNotCriticalkeyCertSignFalseCACert"}},
		{"4.7.3", true, []string{"ValidkeyUsageNotCriticalTest3EE", "keyUsageNotCriticalCACert"}},
		{"4.7.4", false, []string{"InvalidkeyUsageCriticalcRLSignFalseTest4EE", "keyUsageCriticalcRLSignFalseCACert"}},
		{"4.7.5", false, []string{"InvalidkeyUsageNotCriticalcRLSignFalseTest5EE", "keyUsageNotCriticalcRLSignFalseCACert"}},
	}
}

func nistPoints() []nistCase {
	return []nistCase{
		{"4.14.1", true, []string{"ValiddistributionPointTest1EE", "distributionPoint1CACert"}},
		{"4.14.2", false, []string{"InvaliddistributionPointTest2EE", "distributionPoint1CACert"}},
		{"4.14.3", false, []string{"InvaliddistributionPointTest3EE", "distributionPoint1CACert"}},
		{"4.14.4", true, []string{"ValiddistributionPointTest4EE", "distributionPoint1CACert"}},
		{"4.14.5", true, []string{"ValiddistributionPointTest5EE", "distributionPoint2CACert"}},
		{"4.14.6", false, []string{"InvaliddistributionPointTest6EE", "distributionPoint2CACert"}},
		{"4.14.7", true, []string{"ValiddistributionPointTest7EE", "distributionPoint2CACert"}},
		{"4.14.8", false, []string{"InvaliddistributionPointTest8EE", "distributionPoint2CACert"}},
		{"4.14.9", false, []string{"InvaliddistributionPointTest9EE", "distributionPoint2CACert"}},
		{"4.14.10", true, []string{"ValidNoissuingDistributionPointTest10EE", "NoissuingDistributionPointCACert"}},
		{"4.14.11", false, []string{"InvalidonlyContainsUserCertsTest11EE", "onlyContainsUserCertsCACert"}},
		{"4.14.12", false, []string{"InvalidonlyContainsCACertsTest12EE", "onlyContainsCACertsCACert"}},
		{"4.14.13", true, []string{"ValidonlyContainsCACertsTest13EE", "onlyContainsCACertsCACert"}},
		{"4.14.14", false, []string{"InvalidonlyContainsAttributeCertsTest14EE", "onlyContainsAttributeCertsCACert"}},
		{"4.14.15", false, []string{"InvalidonlySomeReasonsTest15EE", "onlySomeReasonsCA1Cert"}},
		{"4.14.16", false, []string{"InvalidonlySomeReasonsTest16EE", "onlySomeReasonsCA1Cert"}},
		{"4.14.17", false, []string{"InvalidonlySomeReasonsTest17EE", "onlySomeReasonsCA2Cert"}},
		{"4.14.18", true, []string{"ValidonlySomeReasonsTest18EE", "onlySomeReasonsCA3Cert"}},
		{"4.14.19", true, []string{"ValidonlySomeReasonsTest19EE", "onlySomeReasonsCA4Cert"}},
		{"4.14.20", false, []string{"InvalidonlySomeReasonsTest20EE", "onlySomeReasonsCA4Cert"}},
		{"4.14.21", false, []string{"InvalidonlySomeReasonsTest21EE", "onlySomeReasonsCA4Cert"}},
		{"4.14.22", true, []string{"ValidIDPwithindirectCRLTest22EE", "indirectCRLCA1Cert"}},
		{"4.14.23", false, []string{"InvalidIDPwithindirectCRLTest23EE", "indirectCRLCA1Cert"}},
		{"4.14.24", true, []string{"ValidIDPwithindirectCRLTest24EE", "indirectCRLCA2Cert"}},
		{"4.14.25", true, []string{"ValidIDPwithindirectCRLTest25EE", "indirectCRLCA2Cert"}},
		{"4.14.26", false, []string{"InvalidIDPwithindirectCRLTest26EE", "indirectCRLCA2Cert"}},
		{"4.14.27", false, []string{"InvalidcRLIssuerTest27EE", "indirectCRLCA2Cert"}},
		{"4.14.28", true, []string{"ValidcRLIssuerTest28EE", "indirectCRLCA3Cert"}},
		{"4.14.29", true, []string{"ValidcRLIssuerTest29EE", "indirectCRLCA3Cert"}},
		{"4.14.30", true, []string{"ValidcRLIssuerTest30EE", "indirectCRLCA4Cert"}},
		{"4.14.31", false, []string{"InvalidcRLIssuerTest31EE", "indirectCRLCA6Cert"}},
		{"4.14.32", false, []string{"InvalidcRLIssuerTest32EE", "indirectCRLCA6Cert"}},
		{"4.14.33", true, []string{"ValidcRLIssuerTest33EE", "indirectCRLCA6Cert"}},
		{"4.14.34", false, []string{"InvalidcRLIssuerTest34EE", "indirectCRLCA5Cert"}},
		{"4.14.35", false, []string{"InvalidcRLIssuerTest35EE", "indirectCRLCA5Cert"}},
	}
}

func nistDeltas() []nistCase {
	return []nistCase{
		{"4.15.1", false, []string{"InvaliddeltaCRLIndicatorNoBaseTest1EE", "deltaCRLIndicatorNoBaseCACert"}},
		{"4.15.2", true, []string{"ValiddeltaCRLTest2EE", "deltaCRLCA1Cert"}},
		{"4.15.3", false, []string{"InvaliddeltaCRLTest3EE", "deltaCRLCA1Cert"}},
		{"4.15.4", false, []string{"InvaliddeltaCRLTest4EE", "deltaCRLCA1Cert"}},
		{"4.15.5", true, []string{"ValiddeltaCRLTest5EE", "deltaCRLCA1Cert"}},
		{"4.15.6", false, []string{"InvaliddeltaCRLTest6EE", "deltaCRLCA1Cert"}},
		{"4.15.7", true, []string{"ValiddeltaCRLTest7EE", "deltaCRLCA1Cert"}},
		{"4.15.8", true, []string{"ValiddeltaCRLTest8EE", "deltaCRLCA2Cert"}},
		{"4.15.9", false, []string{"InvaliddeltaCRLTest9EE", "deltaCRLCA2Cert"}},
		{"4.15.10", false, []string{"InvaliddeltaCRLTest10EE", "deltaCRLCA3Cert"}},
	}
}

// nistSuite is the certificates of the suite, and a set of all its lists.
type nistSuite struct {
	certs  map[string]*x509.Certificate
	broken map[string]error // certificates that crypto/x509 does not read
	set    *crl.Set
	anchor *x509.Certificate
}

func loadNIST(t *testing.T, dir string) nistSuite {
	t.Helper()
	s := nistSuite{certs: make(map[string]*x509.Certificate), broken: make(map[string]error)}
	var cas []*x509.Certificate
	for name, der := range nistFiles(t, dir, "certs", ".crt") {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			s.broken[name] = err
			continue
		}
		s.certs[name] = cert
		if !strings.HasSuffix(name, "EE") {
			cas = append(cas, cert)
		}
	}
	from := crl.Sources{Covered: cas, Authorities: cas}
	for _, der := range nistFiles(t, dir, "crls", ".crl") {
		// Some are to be refused: the cases below notice when a good one is.
		if l, err := crl.Parse(der, crl.DefaultLimits()); err == nil {
			if v, err := l.Verify(cas...); err == nil {
				from.Lists = append(from.Lists, v)
			}
		}
	}
	s.set, s.anchor = crl.NewSet(from), s.certs["TrustAnchorRootCertificate"]
	if s.anchor == nil || len(cas) < 150 || len(from.Lists) < 150 {
		t.Fatalf("%s: %d certificates of CAs, %d lists: the suite is not whole", dir, len(cas), len(from.Lists))
	}
	return s
}

// nistFiles returns the content of the files of one kind, by their names.
func nistFiles(t *testing.T, dir, kind, ext string) map[string][]byte {
	t.Helper()
	files := must[[]string](t)(filepath.Glob(filepath.Join(dir, kind, "*"+ext)))
	all := make(map[string][]byte, len(files))
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ext)] = must[[]byte](t)(os.ReadFile(file))
	}
	return all
}

// outcome is what becomes of a case.
type outcome int

const (
	refused    outcome = iota // revoked, or the path is not valid
	accepted                  // there is a path, and nothing against any certificate in it
	unsettled                 // there is a path, and no list settles it
	unread                    // crypto/x509 does not read a certificate
	unchained                 // crypto/x509 compares names octet by octet: no path. All else is good
	unexpected                // of a valid path, and none of the above
)

// judge asks crypto/x509 for the path, and the set for the rest.
func (s nistSuite) judge(t *testing.T, c nistCase) (outcome, string) {
	t.Helper()
	var chain []*x509.Certificate
	pool, roots := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(s.anchor)
	for i, name := range c.path {
		if err := s.broken[name]; err != nil {
			return unread, err.Error()
		}
		cert := s.certs[name]
		if cert == nil {
			t.Fatalf("%s: no certificate %s", c.number, name)
		}
		if chain = append(chain, cert); i > 0 {
			pool.AddCert(cert)
		}
	}
	chain = append(chain, s.anchor)
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: pool, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	v := s.set.CheckChain(chain, now())
	switch {
	case err == nil && v.Status == crl.Good:
		return accepted, ""
	case err == nil && v.Status == crl.Undetermined && c.valid:
		return unsettled, v.Why
	case err != nil && v.Status == crl.Good && c.valid && named7(chain):
		return unchained, err.Error()
	case c.valid:
		return unexpected, fmt.Sprintf("path: %v, lists: %v (%s)", err, v.Status, v.Why)
	}
	return refused, fmt.Sprintf("path: %v, lists: %v (%s)", err, v.Status, v.Why)
}

// named7 reports whether each certificate of a chain has the next one's name as its
// issuer's (RFC 5280, 7.1), and its signature.
func named7(chain []*x509.Certificate) bool {
	for i, issuer := range chain[1:] {
		if !pki.EqualNames(chain[i].RawIssuer, issuer.RawSubject) || chain[i].CheckSignatureFrom(issuer) != nil {
			return false
		}
	}
	return true
}

// nistSections are those of the suite that are asked, and what they are about.
func nistSections() [][2]string {
	return [][2]string{
		{"4.3", "names in a chain"}, {"4.4", "revocation"}, {"4.7", "key usage"},
		{"4.14", "distribution points"}, {"4.15", "delta lists"},
	}
}

// TestNIST holds what becomes of the suite against the table of docs/revoking.md.
func TestNIST(t *testing.T) {
	s := loadNIST(t, nistData(t))
	counts := make(map[string]map[outcome]int)
	for _, c := range nistCases() {
		section := c.number[:strings.LastIndex(c.number, ".")]
		if counts[section] == nil {
			counts[section] = make(map[outcome]int)
		}
		is, why := s.judge(t, c)
		switch {
		case is == accepted && !c.valid:
			t.Errorf("%s %s: judged good, and should fail", c.number, c.path[0])
		case is == unexpected:
			t.Errorf("%s %s: %s", c.number, c.path[0], why)
		}
		counts[section][is]++
		t.Logf("%s %s: %s", c.number, c.path[0], why)
	}
	var table strings.Builder
	for _, section := range nistSections() {
		n, all := counts[section[0]], 0
		for _, count := range n {
			all += count
		}
		fmt.Fprintf(&table, "| %s %s | %d | %d | %d | %d | %d |\n", section[0], section[1], all, n[accepted]+n[refused], n[unsettled], n[unread], n[unchained])
	}
	page := must[[]byte](t)(os.ReadFile("../docs/revoking.md"))
	if !strings.Contains(string(page), table.String()) {
		t.Errorf("docs/revoking.md has another table than this:\n%s", table.String())
	}
}

// TestNISTNames asks the rule for names itself, which crypto/x509 does not follow.
func TestNISTNames(t *testing.T) {
	s := loadNIST(t, nistData(t))
	for _, c := range nistCases() {
		if !strings.HasPrefix(c.number, "4.3.") {
			continue
		}
		leaf, ca := s.certs[c.path[0]], s.certs[c.path[1]]
		if got := pki.EqualNames(leaf.RawIssuer, ca.RawSubject); got != c.valid {
			t.Errorf("%s: issuer %q, subject %q: equal %t, want %t", c.number, leaf.Issuer, ca.Subject, got, c.valid)
		}
		if v := s.set.CheckChain([]*x509.Certificate{leaf, ca, s.anchor}, now()); (v.Status == crl.Good) != c.valid {
			t.Errorf("%s: %v (%s)", c.number, v.Status, v.Why)
		}
	}
}
