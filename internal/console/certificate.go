package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"omca/crl"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

type listPage struct {
	Search, State, Days string
	Owner, Issuer       string // paths
	States              []string
	Within              []string // choices of Days
	Items               []wire.Record
	Next                string // address of the next page; "" on the last one
	First               bool   // nothing is left out in front
	Filtered            bool
}

// listCertificates shows a page of the inventory: the valid ones unless another
// state is asked for.
func listCertificates(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	asked := v.r.URL.Query()
	p := listPage{Search: strings.TrimSpace(asked.Get("search")), State: asked.Get("state"), Days: asked.Get("days"),
		Owner: strings.TrimSpace(asked.Get("owner")), Issuer: strings.TrimSpace(asked.Get("issuer")),
		States: []string{"valid", "not_yet_valid", "expired", "revoked", "all"}, Within: []string{"7", "30", "90", "365"}}
	if p.State == "" {
		p.State = "valid"
	}
	query := url.Values{"limit": limit(pageSize)}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("search", p.Search)
	set("owner", p.Owner)
	set("issuer", p.Issuer)
	set("after", asked.Get("after"))
	if p.State != "all" {
		query.Set("state", p.State)
	}
	if p.Days != "" {
		set("expiring", p.Days+"d")
	}
	list, err := v.found(p.Search, query)
	if err != nil {
		return err
	}
	p.Items, p.First = list.Items, asked.Get("after") == ""
	p.Filtered = p.Search != "" || p.Owner != "" || p.Issuer != "" || p.Days != "" || p.State != "all"
	if list.Next != "" {
		p.Next = p.address(list.Next)
	}
	return v.show(http.StatusOK, "certificates", "Certificates", "certificates", p)
}

// found is the page of the inventory that a query asks for. A whole serial number
// is looked up, where a search would look at every record until it comes to it.
func (v *visit) found(search string, query url.Values) (wire.CertificateList, error) {
	const whole = 16 // hexadecimal digits: nobody types a part of that length
	if serial, err := pki.ParseSerial(search); err == nil && len(serial) >= whole {
		one, err := get[wire.FullRecord](v, recordURL(string(serial)), nil)
		if err == nil {
			return wire.CertificateList{Items: []wire.Record{one.Record}}, nil
		}
		if !isRefused(err, http.StatusNotFound) {
			return wire.CertificateList{}, err
		}
	}
	return get[wire.CertificateList](v, "/api/certificate", query)
}

// address is that of the page behind a cursor, of the first one for "".
func (p listPage) address(after string) string {
	query := url.Values{"state": {p.State}}
	for name, value := range map[string]string{"search": p.Search, "owner": p.Owner, "issuer": p.Issuer, "days": p.Days, "after": after} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return "/certificates?" + query.Encode()
}

// FirstPage is the address of the beginning of the list.
func (p listPage) FirstPage() string { return p.address("") }

type certificatePage struct {
	wire.FullRecord
	Info      pki.CertificateInfo
	Chain     []link // from this one to the root, as far as it is known
	Held      bool   // the object holds this one, and not another one since
	MayRevoke bool
	MayRenew  bool
	MayPack   bool // as PKCS #12
	Reasons   []reason
	Wrong     string // on the form for PKCS #12
}

// link is a certificate of a chain.
type link struct{ Subject, SHA256 string }

// reason is a reason of a revocation, with what it is for.
type reason struct{ Name, About string }

// reasons are those that a person would give, the most frequent first.
func reasons() []reason {
	return []reason{
		{crl.Unspecified.String(), "none of these, or nobody needs to know"},
		{crl.KeyCompromise.String(), "the private key is, or may be, in other hands"},
		{crl.Superseded.String(), "another certificate took its place"},
		{crl.CessationOfOperation.String(), "what it was for is no longer there"},
		{crl.AffiliationChanged.String(), "its names are no longer right"},
		{crl.PrivilegeWithdrawn.String(), "its holder may no longer do what it was for"},
	}
}

func recordURL(serial string) string { return "/api/certificate/" + url.PathEscape(serial) }

// certificate reads all that the page of a certificate says.
func (v *visit) certificate() (certificatePage, error) {
	var p certificatePage
	if err := v.identify(); err != nil {
		return p, err
	}
	var err error
	if p.FullRecord, err = get[wire.FullRecord](v, recordURL(v.r.PathValue("serial")), nil); err != nil {
		return p, err
	}
	certs, err := pki.ParseCertificates([]byte(p.Certificate))
	if err != nil {
		return p, err
	}
	p.Info = pki.Info(certs[0])
	p.Chain = append(p.Chain, link{certs[0].Subject.String(), p.SHA256})
	own, err := get[wire.Authority](v, "/api/ca", nil)
	if err == nil && own.Path == p.IssuerPath && p.Owner != own.Path {
		above, err := pki.ParseCertificates([]byte(own.CertificateChain))
		if err != nil {
			return p, err
		}
		for _, cert := range above {
			p.Chain = append(p.Chain, link{cert.Subject.String(), pki.Fingerprint(cert)})
		}
	} else if err != nil && !isRefused(err, http.StatusForbidden, http.StatusNotFound) {
		return p, err
	}
	p.Reasons = reasons()
	return p, p.offers(v)
}

// offers finds out what the visitor may do with the certificate.
func (p *certificatePage) offers(v *visit) error {
	if namespace, kind, name, ok := cut(p.Owner); ok {
		held, err := get[wire.CertificateState](v, objectURL(namespace, kind, name)+"/certificate", nil)
		if err == nil {
			p.Held = held.Serial == p.Serial
		} else if !isRefused(err, http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest) {
			return err
		}
	}
	if p.State != "revoked" {
		verb, path := p.revoking()
		if err := v.allowed(&p.MayRevoke, verb, path); err != nil {
			return err
		}
	}
	if p.Info.IsCA { // no list takes a root back, and a new one is a matter of the command line
		p.MayRevoke = false
		return nil
	}
	if !p.Held {
		return nil
	}
	if err := v.allowed(&p.MayPack, "read-key", p.Owner, "private_key"); err != nil {
		return err
	}
	if err := v.allowed(&p.MayRenew, "change", p.Owner); err != nil || !p.MayRenew || p.Profile != "listener" {
		return err
	}
	// Who may change an object may still not have every name signed. The SPIFFE ID
	// is what the CA adds by itself.
	names := []string{p.Info.Subject.CommonName}
	for _, name := range p.Names {
		if !strings.HasPrefix(name, "URI:spiffe://") {
			names = append(names, name)
		}
	}
	return v.allowed(&p.MayRenew, "sign", "", names...)
}

// revoking is the question whether the visitor may revoke the certificate. What the
// machine's root owns is root's: there is no object to ask about.
func (p *certificatePage) revoking() (verb, path string) {
	if p.Owner == usr.MachineRoot {
		return "administer", ""
	}
	return "revoke", p.Owner
}

func showCertificate(v *visit) error {
	p, err := v.certificate()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "certificate", "Certificate "+short(p.Serial), "certificates", p)
}

// downloadCertificate gives the certificate alone, as the API has it.
func downloadCertificate(v *visit) error {
	r, err := get[wire.FullRecord](v, recordURL(v.r.PathValue("serial")), nil)
	if err != nil {
		return err
	}
	v.download(r.Serial+".pem", "application/x-pem-file", []byte(r.Certificate)) // the serial is hexadecimal
	return nil
}

// downloadChain gives the certificate and those above it.
func downloadChain(v *visit) error {
	r, err := get[wire.FullRecord](v, recordURL(v.r.PathValue("serial")), nil)
	if err != nil {
		return err
	}
	own, err := get[wire.Authority](v, "/api/ca", nil)
	if err != nil {
		return err
	}
	if own.Path != r.IssuerPath {
		return bad(http.StatusNotFound, "the chain of "+r.IssuerPath+" is not shown here")
	}
	v.download(r.Serial+"-chain.pem", "application/x-pem-file", []byte(r.Certificate+own.CertificateChain))
	return nil
}

// download answers with a file. Its name is ours.
func (v *visit) download(name, media string, body []byte) {
	h := v.w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = v.w.Write(body) // whoever asked is gone when this fails
}

// askPKCS12 asks for the password that the file is to have.
func askPKCS12(v *visit) error {
	p, err := v.certificate()
	if err != nil {
		return err
	}
	if !p.Held {
		return bad(http.StatusConflict, p.Owner+" does not hold this certificate: there is no key to pack with it")
	}
	if err := v.needs("read-key", p.Owner, "private_key"); err != nil {
		return err
	}
	return v.show(http.StatusOK, "pkcs12", "PKCS #12 of "+short(p.Serial), "certificates", p)
}

func downloadPKCS12(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	p, err := v.certificate()
	if err != nil {
		return err
	}
	at, err := urlOf(p.Owner)
	if err != nil {
		return err
	}
	switch {
	case !p.Held:
		return bad(http.StatusConflict, p.Owner+" does not hold this certificate: there is no key to pack with it")
	case form.Get("password") == "":
		p.Wrong = "Enter a password: the file holds a private key."
	case form.Get("password") != form.Get("again"):
		p.Wrong = "The two passwords differ."
	}
	if p.Wrong != "" {
		return v.show(http.StatusBadRequest, "pkcs12", "PKCS #12 of "+short(p.Serial), "certificates", p)
	}
	a, err := v.post(at+"/certificate/pkcs12", nil, wire.PKCS12Request{Password: form.Get("password"), Format: form.Get("format")})
	if err != nil {
		return err
	}
	_, _, name, _ := cut(p.Owner)
	v.download(name+".p12", "application/x-pkcs12", a.body.Bytes())
	return nil
}

// askRevoke asks once more: nothing brings a revoked certificate back.
func askRevoke(v *visit) error {
	p, err := v.certificate()
	if err != nil {
		return err
	}
	if p.State == "revoked" || p.Info.IsCA {
		return v.to("/certificates/" + url.PathEscape(p.Serial))
	}
	verb, path := p.revoking()
	if err := v.needs(verb, path); err != nil {
		return err
	}
	return v.show(http.StatusOK, "revoke", "Revoke "+short(p.Serial), "certificates", p)
}

func revoke(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if form.Get("confirm") != "yes" {
		return bad(http.StatusBadRequest, "nothing was revoked: tick the box that says that it cannot be undone")
	}
	serial := v.r.PathValue("serial")
	if _, err := v.post(recordURL(serial)+"/revoke", nil, wire.RevokeRequest{Reason: form.Get("reason")}); err != nil {
		return err
	}
	return v.to("/certificates/" + url.PathEscape(serial) + "?done=revoked")
}

// renew gives the object that holds the certificate a new one, and shows it.
func renew(v *visit) error {
	if _, err := v.form(); err != nil {
		return err
	}
	r, err := get[wire.FullRecord](v, recordURL(v.r.PathValue("serial")), nil)
	if err != nil {
		return err
	}
	part := strings.SplitN(r.Owner, "/", 3)
	if len(part) != 3 {
		return errors.New("owner of " + r.Serial + " is no path")
	}
	at := objectURL(part[0], part[1], part[2]) + "/certificate"
	held, err := get[wire.CertificateState](v, at, nil)
	if err != nil {
		return err
	}
	if held.Serial != r.Serial {
		return bad(http.StatusConflict, r.Owner+" holds another certificate by now: "+held.Serial)
	}
	if _, err := v.post(at+"/renew", nil, wire.Renewal{}); err != nil {
		return err
	}
	if held, err = get[wire.CertificateState](v, at, nil); err != nil {
		return err
	}
	return v.to("/certificates/" + url.PathEscape(held.Serial) + "?done=renewed")
}
