package console

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"omca/internal/wire"
)

// What a certificate can be issued for.
const (
	forUser     = "user"
	forListener = "listener"
	forNode     = "node"
	forRequest  = "request"
)

// Order is what the form of an issue asks for. Each field is that of the form.
type Order struct {
	For      string // one of the four
	Path     string // object that is to hold it; for a request, its owner
	Name     string // common name, of an object that is not there yet
	Names    string // further names, of that
	Validity string // of that, or of a request
	Rekey    bool
	CSR      string
	Profile  string // of a request
	Confirms string // the preview that was looked at; "" before that
}

// kindOf is one thing that can be issued.
type kindOf struct{ Word, Title, About string }

func kindsOf() []kindOf {
	return []kindOf{
		{forUser, "For a user", "to call this cluster and its services; the key is made and kept here"},
		{forListener, "For a server", "a listener, a database, a web server; the key is made and kept here"},
		{forNode, "For a node", "a machine of the cluster; the key is made and kept here"},
		{forRequest, "From a request", "the key is elsewhere, and stays there: paste its signing request"},
	}
}

type issuePage struct {
	Order
	Kinds       []kindOf
	About       kindOf
	Known       []string // paths to choose from
	Profiles    []string
	Wrong, Hint string
}

// mostKnown is how many paths the form suggests.
const mostKnown = 100

func askIssue(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	asked := v.r.URL.Query()
	o := Order{For: asked.Get("for"), Path: asked.Get("path"), Rekey: asked.Get("rekey") == "yes", Profile: "listener"}
	if o.For == "" && strings.HasPrefix(o.Path, usersPrefix) {
		o.For = forUser
	} else if o.For == "" {
		o.For = forListener
	}
	return v.showIssue(http.StatusOK, issuePage{Order: o})
}

// showIssue shows the form for what the order is for.
func (v *visit) showIssue(status int, p issuePage) error {
	p.Kinds, p.Profiles = kindsOf(), []string{"listener", "usr", "node"}
	if !v.who.Root { // certificates of nodes are root's to give
		p.Kinds = slices.DeleteFunc(p.Kinds, func(k kindOf) bool { return k.Word == forNode })
		p.Profiles = p.Profiles[:2]
	}
	at := slices.IndexFunc(p.Kinds, func(k kindOf) bool { return k.Word == p.For })
	if at < 0 {
		return bad(http.StatusBadRequest, "a certificate is for a user, a listener, a node, or made from a request")
	}
	p.About = p.Kinds[at]
	selector := map[string]string{forUser: usersPrefix + "*", forListener: "*/sec/*", forNode: "*/sec/*"}[p.For]
	if selector != "" {
		paths, err := get[[]string](v, "/api/object/path", url.Values{"path": {selector}})
		if err != nil {
			return err
		}
		for _, path := range paths {
			if len(p.Known) < mostKnown && !strings.HasPrefix(path, "system/sec/jwt") {
				p.Known = append(p.Known, path)
			}
		}
	}
	return v.show(status, "issue", "Issue a certificate", "issue", p)
}

// orderOf reads the form.
func (v *visit) orderOf() (Order, error) {
	form, err := v.form()
	if err != nil {
		return Order{}, err
	}
	o := Order{
		For: form.Get("for"), Path: strings.TrimSpace(form.Get("path")), Name: strings.TrimSpace(form.Get("name")), Names: words(form.Get("names")),
		Validity: strings.TrimSpace(form.Get("validity")), Rekey: form.Get("rekey") == "yes", CSR: strings.TrimSpace(form.Get("csr")), Profile: form.Get("profile"),
		Confirms: form.Get("confirms"),
	}
	if o.For == forUser && o.Path != "" && !strings.Contains(o.Path, "/") {
		o.Path = usersPrefix + o.Path
	}
	return o, nil
}

// keywords are those of an object that the order makes. The common name and the
// profile are root's to set: for anybody else the first name is one of the others,
// where programs look anyway, and the profile is the usual one.
func (o Order) keywords(root bool) []string {
	if root {
		return expressions(map[string]string{"cn": o.Name, "alt_names": o.Names, "validity": o.Validity, "profile": o.For})
	}
	return expressions(map[string]string{"alt_names": words(o.Name + " " + o.Names), "validity": o.Validity})
}

// preview asks what the order would give, and whether its object has to be made
// for it.
func (v *visit) preview(o Order) (p wire.Preview, makes bool, err error) {
	if o.For == forRequest {
		if o.CSR == "" {
			return p, false, bad(http.StatusBadRequest, "paste the signing request: it begins with -----BEGIN CERTIFICATE REQUEST-----")
		}
		a, err := v.post("/api/certificate/preview", nil, o.request())
		if err != nil {
			return p, false, err
		}
		p, err = read[wire.Preview](a)
		return p, false, err
	}
	at, err := urlOf(o.Path)
	if err != nil {
		return p, false, err
	}
	want := wire.PreviewRequest{Rekey: o.Rekey, ReplaceExternal: true}
	if _, err = get[wire.ObjectItem](v, at, nil); isRefused(err, http.StatusNotFound) {
		makes, want.Keywords = true, o.keywords(v.who.Root)
		if o.For == forUser {
			return p, false, &refusal{Problem: problem{Status: http.StatusNotFound, Title: "Not Found", Detail: "there is no user " + strings.TrimPrefix(o.Path, usersPrefix), Hint: "add the user first: its certificate is made with it"}}
		}
	} else if err != nil {
		return p, false, err
	}
	a, err := v.post(at+"/certificate/preview", nil, want)
	if err != nil {
		return p, makes, err
	}
	p, err = read[wire.Preview](a)
	return p, makes, err
}

func (o Order) request() wire.SignRequest {
	return wire.SignRequest{CSR: o.CSR + "\n", Profile: o.Profile, Validity: o.Validity, Owner: o.Path}
}

// digest is what was looked at: all of a preview but what differs each time.
func digest(p wire.Preview) (string, error) {
	lasts := p.NotAfter.Sub(p.NotBefore).Round(time.Hour)
	text, err := json.Marshal([]any{p.Owner, p.Profile, p.Subject, p.Names, p.Issuer, p.IssuerPath, lasts, p.KeyType, p.NewKey, p.KeyUsage, p.ExtKeyUsage, p.IsCA, p.Pointers, p.Findings, p.Replaces})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

type previewPage struct {
	Order
	wire.Preview
	Makes   bool // the object too
	Changed bool // since it was looked at
}

// previewIssue shows what would be signed.
func previewIssue(v *visit) error {
	o, err := v.orderOf()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	p, makes, err := v.preview(o)
	if no, ok := problemOf(err); ok {
		return v.showIssue(no.Status, issuePage{Order: o, Wrong: no.Detail, Hint: no.Hint})
	}
	if err != nil {
		return err
	}
	return v.showPreview(http.StatusOK, previewPage{Order: o, Preview: p, Makes: makes})
}

func (v *visit) showPreview(status int, p previewPage) error {
	var err error
	if p.Confirms, err = digest(p.Preview); err != nil {
		return err
	}
	return v.show(status, "preview", "What would be signed", "issue", p)
}

// issue signs what was looked at. Where that is something else by now it is shown
// once more.
func issue(v *visit) error {
	o, err := v.orderOf()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	p, makes, err := v.preview(o)
	if err != nil {
		return err
	}
	now, err := digest(p)
	if err != nil {
		return err
	}
	if o.Confirms != now {
		return v.showPreview(http.StatusConflict, previewPage{Order: o, Preview: p, Makes: makes, Changed: true})
	}
	serial, err := v.sign(o, makes, p.Replaces != "")
	if no, ok := problemOf(err); ok {
		return v.showIssue(no.Status, issuePage{Order: o, Wrong: no.Detail, Hint: no.Hint})
	}
	if err != nil {
		return err
	}
	return v.to("/certificates/" + url.PathEscape(serial) + "?done=issued")
}

// sign has the API do it, and gives the serial number. A new object is made
// first.
func (v *visit) sign(o Order, makes, replaces bool) (serial string, err error) {
	if o.For == forRequest {
		a, err := v.post("/api/certificate", nil, o.request())
		if err != nil {
			return "", err
		}
		signed, err := read[wire.Signed](a)
		return signed.Serial, err
	}
	at, err := urlOf(o.Path)
	if err != nil {
		return "", err
	}
	if makes {
		if _, err := v.post(at, nil, wire.CreateRequest{Keywords: o.keywords(v.who.Root)}); err != nil {
			return "", err
		}
	}
	var a *recorder
	if replaces {
		a, err = v.post(at+"/certificate/renew", nil, wire.Renewal{Rekey: o.Rekey, ReplaceExternal: true})
	} else {
		a, err = v.post(at+"/certificate", nil, wire.Creation{ReplaceExternal: true})
	}
	if err != nil {
		return "", err
	}
	issued, err := read[wire.Issued](a)
	return issued.Serial, err
}
