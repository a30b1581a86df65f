package omca_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"omca"
	"omca/crl"
	"omca/pki"
	"omca/pki/lint"
)

// rawName is a Name of one common name in a string type.
func rawName(t *testing.T, tag int, text string) []byte {
	t.Helper()
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	type relative []attribute
	value := asn1.RawValue{Tag: tag, Bytes: []byte(text)}
	inner, err := asn1.MarshalWithParams(relative{{asn1.ObjectIdentifier{2, 5, 4, 3}, value}}, "set")
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal([]asn1.RawValue{{FullBytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// namedPKI is another PKI, whose CA spells its name as it is given.
func namedPKI(t *testing.T, name []byte) *otherPKI {
	t.Helper()
	p := new(otherPKI)
	var err error
	if p.key, err = pki.GenerateKey(pki.ECP256); err != nil {
		t.Fatal(err)
	}
	p.cert = p.selfSigned(t, name)
	if p.issuer, err = pki.NewIssuer([]*x509.Certificate{p.cert}, p.key, lint.New()); err != nil {
		t.Fatal(err)
	}
	p.publishAs(t, p.cert)
	return p
}

// selfSigned returns a certificate of the CA that spells its name in a given way.
func (p *otherPKI) selfSigned(t *testing.T, name []byte) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), RawSubject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// publishAs puts out the first list of a CA as a certificate over its key spells the name.
func (p *otherPKI) publishAs(t *testing.T, as *x509.Certificate, revoked ...*x509.Certificate) {
	t.Helper()
	var err error
	if p.builder, err = crl.NewBuilder(crl.BuilderConfig{Issuer: as, Key: p.key}); err != nil {
		t.Fatal(err)
	}
	p.number = 0
	p.publish(t, revoked...)
}

const utf8String, printableString = asn1.TagUTF8String, asn1.TagPrintableString

// twoPKIs is a server that trusts two PKIs, and one source that has a list of each.
type twoPKIs struct {
	*running
	corp, other *otherPKI
	carol       *http.Client // of corp, and on its list
	dave        *http.Client // of corp, and not on its list
	erin        *http.Client // of other, and not on its list
	carols      *x509.Certificate
	web         *httptest.Server
	lists       atomic.Pointer[[]byte]
}

func newTwoPKIs(t *testing.T) *twoPKIs {
	t.Helper()
	w := &twoPKIs{corp: namedPKI(t, rawName(t, utf8String, "Corp CA")), other: namedPKI(t, rawName(t, utf8String, "Other CA"))}
	w.running = runServer(t, omca.Config{Home: t.TempDir() + "/home"})
	w.web = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		_, _ = out.Write(*w.lists.Load()) // a client that is cut off notices
	}))
	t.Cleanup(w.web.Close)
	w.carol, w.carols = w.corp.client(t, w.running, "carol")
	w.dave, _ = w.corp.client(t, w.running, "dave")
	w.erin, _ = w.other.client(t, w.running, "erin")
	for _, user := range []string{"carol", "dave", "erin"} {
		local(t, w.Server, "POST", "/api/object/path/system/usr/"+user, map[string]any{"keywords": []string{"grant=guest:ns1"}})
	}
	for name, p := range map[string]*otherPKI{"ca-corp": w.corp, "ca-other": w.other} {
		local(t, w.Server, "POST", "/api/object/path/system/sec/"+name, map[string]any{})
		local(t, w.Server, "PATCH", "/api/object/path/system/sec/"+name+"/data", []map[string]string{{
			"action": "add", "name": "certificate_chain", "string": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})),
		}})
	}
	w.serve()
	local(t, w.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-corp&set=cluster.ca%2B%3Dsystem/sec/ca-other&set=cluster.crl%3D"+w.web.URL, nil)
	until(t, "the lists came", func() bool { return w.refresh(t) == http.StatusNoContent && w.state(t) == "fresh" })
	return w
}

// serve has the source give the lists of both PKIs.
func (w *twoPKIs) serve() {
	both := slices.Concat(*w.other.list.Load(), *w.corp.list.Load())
	w.lists.Store(&both)
}

func (w *twoPKIs) refresh(t *testing.T) int {
	t.Helper()
	status, _ := try(t, w.Server, "POST", "/api/crl/refresh", map[string]string{"source": w.web.URL})
	return status
}

// crlStatus is what the API says of the source.
type crlStatus struct {
	Source       string
	State        string
	LastError    string `json:"last_error"`
	Undetermined []string
}

func (w *twoPKIs) status(t *testing.T) crlStatus {
	t.Helper()
	var answer struct{ Items []crlStatus }
	if err := json.Unmarshal(local(t, w.Server, "GET", "/api/crl", nil), &answer); err != nil {
		t.Fatal(err)
	}
	for _, l := range answer.Items {
		if l.Source != "" {
			return l
		}
	}
	return crlStatus{}
}

func (w *twoPKIs) state(t *testing.T) string {
	t.Helper()
	return w.status(t).State
}

// enter has clients connect, and compares which of them get in with what is wanted.
func (w *twoPKIs) enter(t *testing.T, when string, want map[*http.Client]bool) {
	t.Helper()
	for c, in := range want {
		c.CloseIdleConnections()
		name := map[*http.Client]string{w.carol: "carol", w.dave: "dave", w.erin: "erin"}[c]
		if got := asks(c, w.address); (got == http.StatusOK) != in {
			t.Errorf("%s: %s gets %d, want in: %t", when, name, got, in)
		}
	}
}

// settles waits until the lists that the status tells of are in force, which is a moment
// after the status does.
func (w *twoPKIs) settles(t *testing.T, c *http.Client, in bool) {
	t.Helper()
	until(t, "the lists are in force", func() bool {
		c.CloseIdleConnections()
		return (asks(c, w.address) == http.StatusOK) == in
	})
}

// TestListInAnotherStringType: the CA of a company was renewed and spells its name in
// another string type than the lists that its software goes on making.
func TestListInAnotherStringType(t *testing.T) {
	w := newTwoPKIs(t)
	w.enter(t, "before", map[*http.Client]bool{w.carol: true, w.dave: true, w.erin: true})
	w.corp.publishAs(t, w.corp.selfSigned(t, rawName(t, printableString, "Corp CA")), w.carols)
	w.serve()
	if status := w.refresh(t); status != http.StatusNoContent {
		t.Errorf("refresh: %d", status)
	}
	if st := w.status(t); st.State != "fresh" || st.LastError != "" {
		t.Errorf("status %+v", st)
	}
	w.enter(t, "on a list that spells the CA in another way", map[*http.Client]bool{w.carol: false, w.dave: true, w.erin: true})
}

// TestListThatCannotBeUsed: one of the lists of a source is of a key that is not known,
// and has the name of a trusted CA. That CA had no list yet, so nothing settles what
// it revoked.
func TestListThatCannotBeUsed(t *testing.T) {
	w := newTwoPKIs(t)
	unknown := namedPKI(t, rawName(t, printableString, "Corp CA"))
	unknown.publish(t, w.carols)
	w.corp.list.Store(unknown.list.Load())
	w.serve()
	// The last good list of the CA stays in force until the source is another.
	if status := w.refresh(t); status == http.StatusNoContent {
		t.Error("the list of the CA is missing, and was accepted")
	}
	w.enter(t, "with the last good list", map[*http.Client]bool{w.carol: true, w.dave: true, w.erin: true})
	local(t, w.Server, "PATCH", "/api/cluster/config?unset=cluster.crl", nil)
	until(t, "the source is gone", func() bool { return w.status(t).Source == "" })
	w.settles(t, w.carol, true)
	w.enter(t, "without a source", map[*http.Client]bool{w.carol: true, w.dave: true, w.erin: true})
	local(t, w.Server, "PATCH", "/api/cluster/config?set=cluster.crl%3D"+w.web.URL, nil)
	until(t, "the lists came", func() bool { return w.state(t) == "partial" })
	w.settles(t, w.carol, false)

	w.enter(t, "with the policy hard", map[*http.Client]bool{w.carol: false, w.dave: false, w.erin: true})
	if st := w.status(t); !slices.Equal(st.Undetermined, []string{"CN=Corp CA"}) || !strings.Contains(st.LastError, "none of the trusted CAs") {
		t.Errorf("status %+v", st)
	}
	doctor := string(local(t, w.Server, "GET", "/api/doctor", nil))
	for _, want := range []string{"the certificates of CN=Corp CA until", "omca crl refresh " + w.web.URL} {
		if !strings.Contains(doctor, want) {
			t.Errorf("doctor does not say %q: %s", want, doctor)
		}
	}
	local(t, w.Server, "PATCH", "/api/cluster/config?set=listener.crl_policy%3Dsoft", nil)
	w.enter(t, "with the policy soft", map[*http.Client]bool{w.carol: true, w.dave: true, w.erin: true})
	local(t, w.Server, "PATCH", "/api/cluster/config?unset=listener.crl_policy", nil)

	// It is so after a restart too, and when the source cannot be had any more.
	w.stop()
	w.web.Close()
	w.running = runServer(t, omca.Config{Home: w.home})
	w.enter(t, "after a restart without the source", map[*http.Client]bool{w.carol: false, w.dave: false, w.erin: true})
	if st := w.status(t); st.State != "partial" || !slices.Equal(st.Undetermined, []string{"CN=Corp CA"}) {
		t.Errorf("status after a restart %+v", st)
	}
}

// TestListRefused: a list that is refused leaves a CA undetermined that has no other.
// The connections that it may speak against end.
func TestListRefused(t *testing.T) {
	w := newTwoPKIs(t)
	lists := *w.other.list.Load()
	w.lists.Store(&lists)
	local(t, w.Server, "PATCH", "/api/cluster/config?unset=cluster.crl", nil)
	until(t, "the source is gone", func() bool { return w.status(t).Source == "" })
	local(t, w.Server, "PATCH", "/api/cluster/config?set=cluster.crl%3D"+w.web.URL, nil)
	until(t, "the list of one CA came", func() bool { return w.state(t) == "fresh" })
	w.settles(t, w.carol, true)
	w.enter(t, "without a list of their CA", map[*http.Client]bool{w.carol: true, w.dave: true, w.erin: true})
	ended := streams(t, w.dave, w.address)
	forged := slices.Concat(lists, *w.corp.list.Load())
	forged[len(forged)-1] ^= 1
	w.lists.Store(&forged)
	if status := w.refresh(t); status == http.StatusNoContent {
		t.Error("a badly signed list was accepted")
	}
	within(t, 5*time.Second, "the end of the connection that nothing settles any more", ended)
	w.enter(t, "with a list that is badly signed", map[*http.Client]bool{w.carol: false, w.dave: false, w.erin: true})
	w.serve()
	if status := w.refresh(t); status != http.StatusNoContent {
		t.Errorf("refresh: %d", status)
	}
	w.enter(t, "with a good list", map[*http.Client]bool{w.carol: true, w.dave: true, w.erin: true})
}

// TestNothingIsFetchedFromOurselves: a source, and an issuer, that lead to the daemon
// itself are refused, and root is told the way out.
func TestNothingIsFetchedFromOurselves(t *testing.T) {
	w := runServer(t, omca.Config{})
	own := "https://" + w.address + "/crl/ca.crl"
	var issuer string
	web := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/openid-configuration" {
			fmt.Fprintf(out, `{"issuer":%q,"jwks_uri":%q}`, issuer, own)
			return
		}
		http.Redirect(out, r, own, http.StatusFound)
	}))
	t.Cleanup(web.Close)
	issuer = web.URL
	local(t, w.Server, "PATCH", "/api/cluster/config?set=cluster.crl%3D"+web.URL+"&set=listener.openid_issuer%3D"+issuer, nil)
	until(t, "the source is followed", func() bool {
		status, _ := try(t, w.Server, "POST", "/api/crl/refresh", map[string]string{"source": web.URL})
		return status == http.StatusBadGateway
	})
	_, problem := try(t, w.Server, "POST", "/api/crl/refresh", map[string]string{"source": web.URL})
	for _, want := range []string{own, "is a listener of this daemon", "cluster.crl+=URL"} {
		if !strings.Contains(string(problem), want) {
			t.Errorf("root is not told %q: %s", want, problem)
		}
	}
	until(t, "the issuer was asked", func() bool {
		o := status(t, w.Server).OpenID
		return o != nil && !o.Since.IsZero()
	})
	if o := status(t, w.Server).OpenID; o.Usable || !strings.Contains(o.LastError, "is a listener of this daemon") {
		t.Errorf("the issuer: %+v", o)
	}
}
