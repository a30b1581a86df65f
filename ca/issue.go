package ca

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// Issued is a certificate on its way to the caller. It is already recorded.
type Issued struct {
	Path        string // object that holds it; "" when it was signed from a request made elsewhere
	Certificate *x509.Certificate
	Chain       []*x509.Certificate // leaf first, up to and including the issuer's own chain
	Cut         bool                // the validity that was asked for is longer: the certificate ends with its CA
	Rekeyed     bool                // the key that the object had may not be certified again, so it has a new one
	LeftOut     []string            // attributes that the subject of the request had and the certificate has not: "DC"
}

// order is one issuance on its walk: what is asked for, by whom, of whom.
type order struct {
	who      usr.Caller
	profile  pki.Profile
	issuer   *issuer
	request  pki.Request
	id       *url.URL // SPIFFE ID, nil for a CA and for a server that has no name for one
	validity time.Duration
	asked    bool              // the validity is not a default
	most     time.Duration     // the longest validity that the caller's own user may ask for; 0 is no bound
	former   *x509.Certificate // in a renewal that no caller asked for: what is renewed; else nil
	held     *x509.Certificate // what the object has; nil when there is none, or no object
	owner    string
	since    time.Time // when the object of the owner was made; zero when there is none
	mayAsk   []string  // names the caller may ask for; ignored for root

	constraints pki.PolicyRules // of a CA to be made: they become name constraints
}

func isRoot(who usr.Caller) bool { return who.May(usr.Root()) == nil }

// A SignRequest asks for a certificate over a key that is kept elsewhere.
type SignRequest struct {
	CSR      []byte // PEM, PKCS #10
	Profile  string // "usr", "node" or "listener"; "" means "listener"
	Validity time.Duration
	Owner    string // path, or OwnerRoot; "" means the user that the certificate speaks for, or else the caller: its own user, OwnerRoot for the machine's root
}

// Sign issues a certificate for a request made elsewhere (a node's, a
// service's). It is signed by the cluster's CA.
//
// Errors: ErrInvalid (the request can never be granted), usr.ErrDenied (a name
// or a use that the caller lacks), ErrConflict (there is no CA that can sign).
func (a *Authority) Sign(ctx context.Context, who usr.Caller, r SignRequest) (Issued, error) {
	o, err := a.orderToSign(ctx, who, r, func() (pki.Request, error) { return pki.ParseRequest(r.CSR) })
	if err != nil {
		return Issued{}, err
	}
	cert, err := a.walk(ctx, o, nil)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Certificate: cert, Chain: append([]*x509.Certificate{cert}, o.issuer.set.chain...), Cut: o.cut(cert), LeftOut: o.request.LeftOut()}, nil
}

// MaySign decides whether Sign would grant who a certificate of that profile
// for these names, the first of which is the common name. Nothing is signed.
// Its errors are those of Sign.
func (a *Authority) MaySign(ctx context.Context, who usr.Caller, profile string, names []string) error {
	o, err := a.orderToSign(ctx, who, SignRequest{Profile: profile}, func() (pki.Request, error) {
		if len(names) == 0 {
			return pki.Request{}, fmt.Errorf("%w: no name to be signed", pki.ErrInvalid)
		}
		key, err := pki.GenerateKey("ec-p256") // who asks has none yet
		if err != nil {
			return pki.Request{}, err
		}
		list, err := pki.ParseNames(names[1:])
		if err != nil {
			return pki.Request{}, err
		}
		return pki.NewRequest(key.Public(), pki.Subject{CommonName: names[0]}, list)
	})
	if err != nil {
		return err
	}
	return a.granted(ctx, o)
}

// orderToSign is the walk that grants a request made elsewhere.
func (a *Authority) orderToSign(ctx context.Context, who usr.Caller, r SignRequest, request func() (pki.Request, error)) (order, error) {
	if r.Profile == "" {
		r.Profile = ProfileListener
	}
	switch r.Profile {
	case ProfileOCSP:
		return order{}, fmt.Errorf("%w: a request cannot be signed with profile %q: what answers for a CA has a key that is made here", ErrInvalid, ProfileOCSP)
	case ProfileCA:
		return order{}, hint.With(fmt.Errorf("%w: a request cannot be signed with profile %q", ErrInvalid, ProfileCA),
			"make a subordinate CA with \"omca system/sec/ca-NAME create --kw ca=%s\" and \"omca system/sec/ca-NAME certificate create\"", PathCA)
	}
	path, err := a.ClusterCA(ctx)
	if err != nil {
		return order{}, err
	}
	o := order{who: who, validity: r.Validity, asked: r.Validity > 0, owner: r.Owner}
	if o.profile, err = pki.LookupProfile(r.Profile); err != nil {
		return order{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if o.issuer, err = a.issuerAt(ctx, path); err != nil {
		return order{}, err
	}
	if o.request, err = request(); err == nil {
		o.request, err = named(o.request, o.profile)
	}
	if err != nil {
		return order{}, fmt.Errorf("%w: certificate request: %w", ErrInvalid, err)
	}
	switch {
	case o.owner != "":
	case o.profile.Name == ProfileUser:
		o.owner = userPrefix + o.request.Subject().CommonName
	default:
		o.owner = OwnerOf(who)
	}
	if err := a.entitle(ctx, &o); err != nil {
		return order{}, err
	}
	return o, a.ownNames(ctx, &o)
}

// OwnerOf returns the owner of what is issued for a caller: the path of its user,
// OwnerRoot for the machine's root, which has none.
func OwnerOf(who usr.Caller) string {
	if who.IsMachine() {
		return OwnerRoot
	}
	return userPrefix + who.Name
}

// ownNames keeps the DNS names of a request for a user's certificate to those that
// this user may have. Requests by root are no exception.
func (a *Authority) ownNames(ctx context.Context, o *order) error {
	user := o.request.Subject().CommonName
	if o.profile.Name != ProfileUser {
		return nil
	}
	names, err := a.namesOf(ctx, user)
	if err == nil {
		o.request, err = userNames(o.request, user, pki.Names{}, names)
	}
	return err
}

// named adds the common name of a server's certificate to its alternative
// names when it is a host name: RFC 9525, 6.1, clients look nowhere else. pki
// does so for names with a dot, which cannot be anything else.
func named(r pki.Request, profile pki.Profile) (pki.Request, error) {
	cn := r.Subject().CommonName
	if profile.Name != ProfileListener && profile.Name != ProfileNode || cn == "" {
		return r, nil
	}
	names := r.Names()
	if slices.Contains(names.DNS, cn) {
		return r, nil
	}
	if err := names.Add("DNS:" + cn); err != nil {
		return r, nil // "Payment service" is a fine common name, and no host
	}
	return r.WithNames(r.Subject(), names)
}

// entitle checks whom the request of o would speak for, and reads what the
// caller may ask for.
func (a *Authority) entitle(ctx context.Context, o *order) error {
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return err
	}
	cn := o.request.Subject().CommonName
	if cn == "" {
		return fmt.Errorf("%w: the request has no common name, and profile %q names its certificates by it", ErrInvalid, o.profile.Name)
	}
	if o.profile.Name == ProfileUser {
		if err := usr.ValidName(cn); err != nil {
			return fmt.Errorf("%w: a certificate of profile %q speaks for the user that its common name names: %w", ErrInvalid, ProfileUser, err)
		}
	}
	if o.id, err = requestID(cluster.Name, o.profile.Name, cn); err != nil {
		return err
	}
	if isRoot(o.who) {
		if err := o.ownsItself(cn); err != nil {
			return err
		}
		o.since, err = a.madeAt(ctx, o.owner)
		return err
	}
	switch own := OwnerOf(o.who); {
	case o.profile.Name == ProfileUser && cn != o.who.Name:
		return fmt.Errorf("%w: the request names user %q, the caller is %q", usr.ErrDenied, cn, o.who.Name)
	case o.owner != own:
		return fmt.Errorf("%w: only root names another owner than %q: the request says %q", usr.ErrDenied, own, o.owner)
	case o.profile.Name == ProfileNode:
		return fmt.Errorf("%w: certificates of nodes need the grant root", usr.ErrDenied)
	}
	h, err := a.selfOf(ctx, o.who)
	if err != nil {
		return err
	}
	o.mayAsk, o.since, o.most = h.MayAsk, h.Created, h.MaxValidity
	asked := o.request.Subject()
	return ownParts(o.who, append(groups(asked, h.Subject), places(asked, h.Subject)...))
}

// madeAt says when the object of an owner was made, zero when there is none.
func (a *Authority) madeAt(ctx context.Context, owner string) (time.Time, error) {
	if owner == OwnerRoot {
		return time.Time{}, nil
	}
	made, err := a.store.Created(ctx, owner)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	return made, err
}

// ownsItself refuses another owner for the certificate of a user than that user:
// a revocation, and the deletion of the user, end what belongs to it.
func (o *order) ownsItself(cn string) error {
	if o.profile.Name != ProfileUser || o.owner == userPrefix+cn {
		return nil
	}
	return hint.With(fmt.Errorf("%w: a certificate of profile %q for %q belongs to %q, not to %q", ErrInvalid, ProfileUser, cn, userPrefix+cn, o.owner),
		"leave the owner out")
}

// selfOf returns the user object of a caller who proved to be that user in
// person. Whoever an identity provider calls by the same name is somebody else,
// and a token that holds less than its user must not be the way to the rest.
func (a *Authority) selfOf(ctx context.Context, who usr.Caller) (Holder, error) {
	if !who.Is(usr.Object{Namespace: "system", Kind: "usr", Name: who.Name}) {
		return Holder{}, fmt.Errorf("%w: %q has not proved to be a user of this cluster in person", usr.ErrDenied, who.Name)
	}
	h, err := a.store.Holder(ctx, userPrefix+who.Name)
	if errors.Is(err, ErrNotFound) {
		return Holder{}, fmt.Errorf("%w: user %q does not exist", usr.ErrDenied, who.Name)
	}
	return h, err
}

// walk issues one certificate: docs/issuing.md follows it step by step. The
// change that install returns (the keys of the object that will hold the
// certificate) is committed together with the record; nil means that none does.
func (a *Authority) walk(ctx context.Context, o order, install func(*x509.Certificate) Change) (*x509.Certificate, error) {
	draft, now, err := a.draft(ctx, o)
	if err != nil {
		return nil, err
	}
	done, again, err := a.admit(ctx, o, now)
	if err != nil {
		return nil, err
	}
	issued := false
	defer func() { done(issued) }()
	// 6. The real key signs, once, the bytes of the draft.
	cert, err := o.issuer.Sign(draft)
	if err != nil {
		return nil, err
	}
	// 5 and 7. Serial and certificate are durable before anyone sees them.
	var change Change
	if install != nil {
		change = install(cert)
	}
	signer := o.issuer.id
	if signer.IsZero() {
		signer = pki.AuthorityOf(cert) // a root signs itself
	}
	change.Records = []Record{{
		Certificate: cert, Authority: signer, Issuer: o.issuer.path, Owner: o.owner, OwnerSince: o.since, Profile: o.profile.Name, By: o.who.By(), IssuedAt: now.UTC(), Again: again,
	}}
	change.Keys = []pki.KeyHash{pki.KeyHashOf(cert)}
	if o.profile.Name != ProfileOCSP { // whose answers go on
		change.Keys = append(change.Keys, o.issuer.keys...)
	}
	change.Expect = append(change.Expect, o.issuer.basis...)
	if err := a.commit(ctx, change); err != nil {
		if err = a.refused(ctx, err, cert); errors.Is(err, ErrConflict) {
			err = cmp.Or(a.signerUnblocked(ctx, o), err)
		}
		return nil, &recordingError{draft.Serial(), err}
	}
	issued = true
	// 8. One audit line.
	a.audit(ctx, o, cert)
	return cert, nil
}

// recordingError is the failure to make a certificate durable.
type recordingError struct {
	serial pki.Serial
	err    error
}

func (e *recordingError) Error() string {
	return fmt.Sprintf("recording serial %s: %v", e.serial, e.err)
}
func (e *recordingError) Unwrap() error { return e.err }

// draft is the walk up to the point where the real key would sign. Nothing
// remains of it unless that happens.
func (a *Authority) draft(ctx context.Context, o order) (draft pki.Draft, now time.Time, err error) {
	// 3. Every name and every use is granted to the caller.
	if err := a.granted(ctx, o); err != nil {
		return draft, now, err
	}
	if err := a.mayGoOn(ctx, o); err != nil {
		return draft, now, err
	}
	// 4. The draft is linted.
	now = a.now()
	serial, err := pki.NewSerial(now)
	if err != nil {
		return draft, now, err
	}
	life, err := a.life(ctx, o, now)
	if err != nil {
		return draft, now, err
	}
	terms := pki.Terms{
		Profile: o.profile, Serial: serial, ID: o.id, Constraints: o.constraints,
		NotBefore: now.Add(-backdated(life)), NotAfter: now.Add(life),
	}
	if err := a.pointers(ctx, o, &terms); err != nil {
		return draft, now, err
	}
	if draft, err = o.issuer.Draft(o.request, terms); err != nil {
		return draft, now, fmt.Errorf("%w: draft: %w", ErrInvalid, err)
	}
	return draft, now, nil
}

// mayGoOn refuses an issuer that was revoked, or is below one that was: nobody
// would believe what it signs, here neither. Its answers about what it signed
// before go on.
func (a *Authority) mayGoOn(ctx context.Context, o order) error {
	if o.profile.Name == ProfileOCSP || o.issuer.Certificate() == nil {
		return nil
	}
	chain := o.issuer.Chain()
	for i, cert := range chain {
		if selfSigned(cert) {
			continue // no list can take it back
		}
		r, revoked, err := a.RevocationBelow(ctx, cert, chain[i+1:])
		if err != nil {
			return err
		}
		if revoked {
			return hint.With(fmt.Errorf("%w: %s cannot sign: the certificate of %q was revoked on %s (%s)",
				ErrConflict, o.issuer.path, cert.Subject, r.At.UTC().Format("2006-01-02"), r.Reason),
				"name another CA in the keyword ca, or give that one another key: \"omca PATH certificate renew --rekey\"")
		}
	}
	return nil
}

// pointers says in the certificate where its revocation is published, if
// anybody can get there: RFC 5280, 4.2.1.13 and 4.2.2.1. A responder's is not to
// be asked about (RFC 6960, 4.2.2.2.1), nor a root's.
func (a *Authority) pointers(ctx context.Context, o order, terms *pki.Terms) error {
	cluster, err := a.store.Cluster(ctx)
	if err != nil || cluster.BaseURL == "" || o.profile.Name == ProfileOCSP || o.issuer.Certificate() == nil {
		return err
	}
	terms.CRL = []string{cluster.BaseURL + "/crl/" + LastingName(o.issuer.path, o.issuer.Certificate()) + ".crl"}
	terms.OCSP = []string{cluster.BaseURL + "/ocsp"}
	return nil
}

// audit writes the line that says what was issued, to whom and by whom.
func (a *Authority) audit(ctx context.Context, o order, cert *x509.Certificate) {
	a.log.InfoContext(ctx, "issued", "serial", pki.SerialOf(cert), "profile", o.profile.Name, "subject", cert.Subject.String(),
		"owner", o.owner, "issuer", o.issuer.path, "not_after", cert.NotAfter, "by", o.who.By(), "auth", o.who.Method, "address", o.who.Address, "request_id", o.who.RequestID)
}

// granted checks the names and the use that o asks for: against the policies of
// the issuer and of every CA above it for everyone, and against the names granted
// to the caller unless that is root.
func (a *Authority) granted(ctx context.Context, o order) error {
	if err := bySelfOrPeers(o); err != nil {
		return err
	}
	subject, names := o.request.Subject(), o.request.Names()
	if err := a.withinPolicies(ctx, o.issuer, subject, names); err != nil {
		return err
	}
	if isRoot(o.who) || o.profile.Name == ProfileUser && onlyItself(subject, names) {
		return nil
	}
	if o.profile.Name == ProfileCA {
		return fmt.Errorf("%w: making a CA needs the grant root", usr.ErrDenied)
	}
	return checkAsked(o, subject, names)
}

// onlyItself reports whether the names say nothing beyond the common name,
// which pki repeats among them when it looks like a host's ("alice.smith").
func onlyItself(subject pki.Subject, names pki.Names) bool {
	list := names.Strings()
	return len(list) == 0 || len(list) == 1 && list[0] == "DNS:"+subject.CommonName
}

// checkAsked holds every name, the common name among them, against the keyword
// names of the caller's user.
func checkAsked(o order, subject pki.Subject, names pki.Names) error {
	asked := names.Strings()
	if subject.CommonName != "" {
		asked = append(asked, subject.CommonName)
	}
	return mayAsk(o.who, asked, o.mayAsk)
}

// mayAsk holds names against the patterns of the keyword names of the caller's user.
func mayAsk(who usr.Caller, names, patterns []string) error {
	permitted, err := permits(patterns)
	if err != nil {
		return fmt.Errorf("keyword names of %q: %w", who.Name, err)
	}
	if err := usr.CanSignNames(who, names, permitted); err != nil {
		return hint.With(err, "root grants names with \"omca %s%s config update --set names+=NAME\"", userPrefix, who.Name)
	}
	return nil
}
