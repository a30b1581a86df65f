package ca_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
	"omca/usr"
)

// The certificate of a user has no DNS name that the keyword names of that user does
// not permit, whichever way it is made.
func TestUserNamesNoHost(t *testing.T) {
	for _, tt := range []struct{ user, keywords, want string }{
		{"www.bank.lan", "", ""},
		{"alice.smith", "", ""},
		{"alice.smith", "names=*.bank.lan", ""},
		{"alice.smith", "names=alice.smith", "alice.smith"},
		{"a.web.lan", "names=*.web.lan", "a.web.lan"},
		{"alice", "", ""},
		{"alice", "names=*.web.lan", ""},
		{"alice.smith", "alt_names=vpn.bank.lan", "vpn.bank.lan"}, // root's own word
		{"alice.smith", "alt_names=alice.smith", "alice.smith"},
		{"alice.smith", "names=alice.smith alt_names=vpn.bank.lan", "alice.smith vpn.bank.lan"},
	} {
		w := bootstrapped(t)
		path := "system/usr/" + tt.user
		w.create(path, strings.Fields(tt.keywords)...)
		root := caller(t, "root", "root")
		names := func(cert *x509.Certificate, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if cert.Subject.CommonName != tt.user || ids(cert) != "spiffe://testers/usr/"+tt.user {
				t.Errorf("%s with %s: %q, %q", tt.user, tt.keywords, cert.Subject, ids(cert))
			}
			return strings.Join(cert.DNSNames, " ")
		}
		of := func(i ca.Issued, err error) string { return names(i.Certificate, err) }
		shown := func(p ca.Preview, err error) string { return names(p.Certificate, err) }
		ways := map[string]string{
			"preview": shown(w.Preview(t.Context(), root, path, ca.CreateOptions{})),
			"create":  of(w.Create(t.Context(), root, path, ca.CreateOptions{})),
			"renew":   of(w.Create(t.Context(), root, path, ca.CreateOptions{Rekey: true})),
		}
		if !strings.Contains(tt.keywords, "alt_names") { // which are those of the object alone
			self := caller(t, tt.user, "")
			for who, by := range map[string]usr.Caller{"root": root, "itself": self} {
				r := ca.SignRequest{CSR: csr(t, tt.user), Profile: "usr", Owner: path}
				ways["preview of signing by "+who] = shown(w.PreviewSign(t.Context(), by, r))
				ways["signing by "+who] = of(w.Sign(t.Context(), by, r))
			}
			ways["create by itself"] = of(w.Create(t.Context(), self, path, ca.CreateOptions{}))
		}
		text, err := w.SigningRequest(t.Context(), root, path)
		if err != nil {
			t.Fatal(err)
		}
		ways["a request for elsewhere"] = requested(t, text)
		for way, got := range ways {
			if got != tt.want {
				t.Errorf("%s with %q, %s: DNS names %q, want %q", tt.user, tt.keywords, way, got, tt.want)
			}
		}
	}
}

// requested are the DNS names in a PKCS #10 request.
func requested(t *testing.T, text []byte) string {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no PEM: %q", text)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(csr.DNSNames, " ")
}

// What a request asks for beyond is refused, to root too, and not left out in silence.
func TestUserAsksForHosts(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice.smith", "names=*.web.lan")
	root := caller(t, "root", "root")
	for _, tt := range []struct {
		cn     string
		names  []string
		denied bool
	}{
		{"alice.smith", []string{"a.web.lan"}, false},
		{"alice.smith", []string{"www.bank.lan"}, true},
		{"alice.smith", []string{"alice.smith", "www.bank.lan"}, true},
		{"alice.smith", []string{"alice.smith"}, false},
		{"bob", []string{"www.bank.lan"}, true}, // there is no such user
		{"bob", nil, false},
	} {
		r := ca.SignRequest{CSR: csr(t, tt.cn, tt.names...), Profile: "usr"}
		for who, by := range map[string]usr.Caller{"root": root, "itself": caller(t, tt.cn, "")} {
			if who == "itself" && (tt.cn != "alice.smith" || len(tt.names) == 1 && tt.names[0] == "a.web.lan") { // for which names must have its own name too
				continue
			}
			_, err := w.Sign(t.Context(), by, r)
			if errors.Is(err, usr.ErrDenied) != tt.denied || !tt.denied && err != nil {
				t.Errorf("%s with %q, by %s: %v", tt.cn, tt.names, who, err)
			}
		}
	}
	// A server's common name is a name like any other.
	signed, err := w.Sign(t.Context(), root, ca.SignRequest{CSR: csr(t, "www.bank.lan"), Profile: "listener"})
	if err != nil || strings.Join(signed.Certificate.DNSNames, " ") != "www.bank.lan" {
		t.Errorf("a server: %+v, %v", signed.Certificate, err)
	}
}

// trustStrangers has the cluster trust the CA of another PKI for clients, and returns that CA.
func (w *world) trustStrangers() (*x509.Certificate, crypto.Signer) {
	w.t.Helper()
	other := bootstrapped(w.t)
	other.set("cluster", "cluster.name=strangers")
	chain, key, err := other.Serving(w.t.Context(), ca.PathCA)
	if err != nil {
		w.t.Fatal(err)
	}
	w.create("system/sec/ca-other")
	if _, err := w.Import(w.t.Context(), caller(w.t, "root", "root"), "system/sec/ca-other", ca.KeyChain, pki.EncodeCertificates(chain[0])); err != nil {
		w.t.Fatal(err)
	}
	w.set("cluster", "cluster.ca+=system/sec/ca-other")
	return chain[0], key
}

// externalWorld trusts another PKI for clients, and has the user alice.
func externalWorld(t *testing.T) (w *world, client func(edit func(*x509.Certificate)) *x509.Certificate) {
	t.Helper()
	w = bootstrapped(t)
	w.create("system/usr/alice")
	strangers, key := w.trustStrangers()
	return w, func(edit func(*x509.Certificate)) *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(w.now.UnixNano()), Subject: pkix.Name{CommonName: "alice"}, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		edit(template)
		return forged(t, template, newKey(t).Public(), strangers, key)
	}
}

// A certificate speaks for one user: its subject has one common name. Of several,
// one reader takes the first and another the last.
func TestOneCommonName(t *testing.T) {
	w, client := externalWorld(t)
	cn := func(s string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: s}
	}
	o := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "MyCorp"}
	type rdns = pkix.RDNSequence
	for name, tt := range map[string]struct {
		subject rdns
		good    bool
	}{
		"one":                    {rdns{{o}, {cn("alice")}}, true},
		"one, beside another":    {rdns{{cn("alice"), o}}, true},
		"none":                   {rdns{{o}}, false},
		"two":                    {rdns{{cn("bob")}, {cn("alice")}}, false},
		"two, the other way":     {rdns{{cn("alice")}, {cn("bob")}}, false},
		"the same twice":         {rdns{{cn("alice")}, {cn("alice")}}, false},
		"two in one":             {rdns{{cn("bob"), cn("alice")}}, false},
		"three in two":           {rdns{{cn("x"), cn("bob")}, {cn("alice")}}, false},
		"an empty one before it": {rdns{{cn("")}, {cn("alice")}}, false},
	} {
		raw, err := asn1.Marshal(tt.subject)
		if err != nil {
			t.Fatal(err)
		}
		leaf := client(func(c *x509.Certificate) { c.RawSubject = raw })
		id, err := w.Identify(t.Context(), w.verified(leaf))
		if tt.good && (err != nil || id.User != "alice") {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		if !tt.good && (!errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "common names")) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

// A client signs the handshake: where its keyUsage is there, it says so.
func TestKeyUsageOfAClient(t *testing.T) {
	w, client := externalWorld(t)
	empty := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{3, 2, 7, 0}}
	for name, tt := range map[string]struct {
		edit func(*x509.Certificate)
		good bool
	}{
		"digitalSignature":               {func(*x509.Certificate) {}, true},
		"digitalSignature and more":      {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, true},
		"no keyUsage":                    {func(c *x509.Certificate) { c.KeyUsage = 0 }, true},
		"keyEncipherment":                {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, false},
		"keyAgreement":                   {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, false},
		"nonRepudiation":                 {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }, false},
		"keyCertSign":                    {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }, false},
		"a keyUsage with nothing in it":  {func(c *x509.Certificate) { c.KeyUsage, c.ExtraExtensions = 0, []pkix.Extension{empty} }, false},
		"digitalSignature, for a server": {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, false},
		"digitalSignature, but of two CN": {func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "bob"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "alice"}}
		}, false},
	} {
		leaf := client(tt.edit)
		chain := []*x509.Certificate{leaf, must(w.Trust(t.Context()))(t)[1]}
		id, err := w.Identify(t.Context(), chain)
		if tt.good != (err == nil) || tt.good && id.User != "alice" || !tt.good && !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

// What is adopted for a user meets the same rules.
func TestAdoptedClients(t *testing.T) {
	for name, tt := range map[string]struct {
		usage x509.KeyUsage
		cns   []string
		good  bool
	}{
		"as it should be":      {x509.KeyUsageDigitalSignature, []string{"user-alice"}, true},
		"no keyUsage":          {0, []string{"user-alice"}, true},
		"for encryption":       {x509.KeyUsageKeyEncipherment, []string{"user-alice"}, false},
		"two common names":     {x509.KeyUsageDigitalSignature, []string{"user-bob", "user-alice"}, false},
		"two, one no user":     {x509.KeyUsageDigitalSignature, []string{"x", "user-alice"}, false},
		"the same name, twice": {x509.KeyUsageDigitalSignature, []string{"user-alice", "user-alice"}, false},
	} {
		w := bootstrapped(t)
		o := newOffline(t)
		subject := pkix.Name{}
		for _, cn := range tt.cns {
			subject.ExtraNames = append(subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: cn})
		}
		leaf := forged(t, &x509.Certificate{
			SerialNumber: big.NewInt(w.now.UnixNano()), Subject: subject, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
			KeyUsage: tt.usage, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, newKey(t).Public(), read(t, o.Holder), o.Key)
		o.signed = append(o.signed, ca.AdoptedFile{Name: "alice.crt", Certificate: pki.EncodeCertificates(leaf)})
		_, err := w.Adopt(t.Context(), caller(t, "root", "root"), w.adoption(o))
		if (err == nil) != tt.good || err != nil && !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if !tt.good {
			continue
		}
		if id, err := w.Identify(t.Context(), w.verified(leaf)); err != nil || id.User != "alice" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

// One that an earlier build took in is looked at again when it is used.
func TestAdoptedBefore(t *testing.T) {
	w := bootstrapped(t)
	o := newOffline(t)
	w.mustAdopt(o)
	leaf := forged(t, &x509.Certificate{
		SerialNumber: big.NewInt(w.now.UnixNano()), Subject: pkix.Name{CommonName: "user-alice"}, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, newKey(t).Public(), read(t, o.Holder), o.Key)
	r := ca.Record{Certificate: leaf, Issuer: ca.PathCA, Owner: "system/usr/alice", Profile: "usr", By: "root", IssuedAt: w.now}
	if err := w.objects.Commit(t.Context(), ca.Change{Records: []ca.Record{r}}); err != nil {
		t.Fatal(err)
	}
	if id, err := w.Identify(t.Context(), w.verified(leaf)); !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "digitalSignature") {
		t.Errorf("%+v, %v", id, err)
	}
}

// A record says for which object of a path the certificate was issued, however that is
// signed, and whose it is when there is none.
func TestRecordsNameTheirOwner(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice", "names=*.web.lan")
	w.create("ns1/sec/web", "cn=web.demo.lan")
	w.now = w.now.Add(time.Hour)
	root, machine := caller(t, "root", "root"), usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants()}
	byToken := usr.Caller{Name: "root", Method: usr.MethodToken, Machine: true, Grants: usr.RootGrants()}
	signed := func(by usr.Caller, cn, owner string) *x509.Certificate {
		t.Helper()
		issued, err := w.Sign(t.Context(), by, ca.SignRequest{CSR: csr(t, cn), Owner: owner})
		if err != nil {
			t.Fatal(err)
		}
		return issued.Certificate
	}
	for _, tt := range []struct {
		cert      *x509.Certificate
		owner, by string
	}{
		{w.mustIssue("ns1/sec/web").Certificate, "ns1/sec/web", "root"},
		{w.mustIssue("system/usr/alice").Certificate, "system/usr/alice", "root"},
		{signed(caller(t, "alice", ""), "a.web.lan", ""), "system/usr/alice", "alice"},
		{signed(root, "b.web.lan", "ns1/sec/web"), "ns1/sec/web", "root"},
		{signed(root, "c.web.lan", ""), "system/usr/root", "root"},
		{signed(root, "d.web.lan", "ns1/sec/absent"), "ns1/sec/absent", "root"},
		{signed(root, "e.web.lan", "ns1/cfg/plain"), "ns1/cfg/plain", "root"},
		{signed(machine, "f.web.lan", ""), ca.OwnerRoot, "ux:root"},
		{signed(byToken, "g.web.lan", ""), ca.OwnerRoot, "ux:root"},
		{signed(root, "h.web.lan", ca.OwnerRoot), ca.OwnerRoot, "root"},
	} {
		r, err := w.Record(t.Context(), pki.SerialOf(tt.cert))
		if err != nil {
			t.Fatal(err)
		}
		if r.Owner != tt.owner || r.By != tt.by {
			t.Errorf("%s: owned by %q and issued by %q, want %q and %q", r.Certificate.Subject, r.Owner, r.By, tt.owner, tt.by)
		}
		h, err := w.objects.Holder(t.Context(), tt.owner)
		there := err == nil
		if there != !r.OwnerSince.IsZero() || there && !r.BelongsTo(h.Created) {
			t.Errorf("%s: of an owner since %v, which is there: %v since %v", r.Certificate.Subject, r.OwnerSince, there, h.Created)
		}
		if r.BelongsTo(w.now.Add(time.Second)) || there && r.BelongsTo(h.Created.Add(time.Nanosecond)) {
			t.Errorf("%s belongs to an object that came later", r.Certificate.Subject)
		}
	}
	n, err := w.RevokeOwned(t.Context(), root, "ns1/sec/web", w.now, "", crl.Superseded)
	if err != nil || n != 0 {
		t.Errorf("of an object that was made later: %d, %v", n, err)
	}
	if n, err = w.RevokeOwned(t.Context(), root, "ns1/sec/web", start(), "", crl.Superseded); err != nil || n != 2 {
		t.Errorf("of the object: %d, %v", n, err)
	}
	if n, err = w.RevokeOwned(t.Context(), root, ca.OwnerRoot, time.Time{}, "", crl.Superseded); err != nil || n != 3 {
		t.Errorf("of the machine's root: %d, %v", n, err)
	}
}
