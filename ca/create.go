package ca

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// CreateOptions says how an object gets its next certificate.
type CreateOptions struct {
	Rekey           bool // a new private key, instead of the one the object has
	ReplaceExternal bool // consent to replace a valid certificate that another PKI signed
}

// Create issues the certificate that the keywords of the object at path ask
// for and installs it there, key and chain included, in one commit. The
// private key is made once and kept; a key that cannot be read is an error.
//
// Errors: ErrNotFound, ErrInvalid, usr.ErrDenied, ErrConflict (no CA can sign,
// or the present certificate is another PKI's and still valid).
func (a *Authority) Create(ctx context.Context, who usr.Caller, path string, opt CreateOptions) (Issued, error) {
	w, err := a.wanted(ctx, who, path, opt)
	if err != nil {
		return Issued{}, err
	}
	issued, err := a.issueTo(ctx, w.holder, w.order, w.key, w.made || w.holder.KeyMade)
	issued.Rekeyed = w.blocked
	return issued, err
}

// wanted is what an object is to get.
type wanted struct {
	holder  Holder
	order   order
	key     crypto.Signer
	made    bool // the key, just now
	blocked bool // the key before was, so that there had to be another
}

// wanted reads what the object at path asks for.
func (a *Authority) wanted(ctx context.Context, who usr.Caller, path string, opt CreateOptions) (wanted, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return wanted{}, err
	}
	have, err := live(h)
	if err != nil {
		return wanted{}, err
	}
	if !opt.ReplaceExternal {
		if err := a.keepExternal(ctx, h, have); err != nil {
			return wanted{}, err
		}
	}
	w := wanted{holder: h, key: have.key}
	if w.key != nil && !opt.Rekey {
		if w.blocked, err = a.mustRekey(ctx, h, w.key); err != nil {
			return wanted{}, err
		}
	}
	if w.key == nil || opt.Rekey || w.blocked {
		if w.key, err = pki.GenerateKey(h.KeyType); err != nil {
			return wanted{}, err
		}
		w.made = true
	}
	if err := namedByPath(who, h, w.made); err != nil {
		return wanted{}, err
	}
	w.order, err = a.orderFor(ctx, who, h, w.key)
	if len(have.chain) > 0 {
		w.order.held = have.chain[0]
	}
	return w, err
}

// mustRekey reports whether the key of an object is one that is never certified again.
// That of a CA is not replaced unasked: it ends all that the CA signed.
func (a *Authority) mustRekey(ctx context.Context, h Holder, key crypto.Signer) (bool, error) {
	err := a.unblocked(ctx, key.Public())
	if errors.Is(err, ErrConflict) && h.Profile != ProfileCA {
		return true, nil
	}
	return false, err
}

// issueTo issues o and installs the certificate, its chain and its key in h,
// in one commit.
func (a *Authority) issueTo(ctx context.Context, h Holder, o order, key crypto.Signer, made bool) (Issued, error) {
	chain := func(cert *x509.Certificate) []*x509.Certificate {
		return append([]*x509.Certificate{cert}, o.issuer.set.chain...)
	}
	pem, err := pki.EncodePrivateKey(key)
	if err != nil {
		return Issued{}, err
	}
	former := Change{Put: make(map[string][]byte)}
	if err := a.keepFormer(ctx, o.who, h, &former); err != nil {
		return Issued{}, err
	}
	cert, err := a.walk(ctx, o, func(cert *x509.Certificate) Change {
		c := install(h, chain(cert))
		c.Put[KeyPrivate], c.KeyMade = pem, made
		h.becomes(&c, chain(cert), pem, made)
		maps.Copy(c.Put, former.Put)
		c.Remove = append(c.Remove, former.Remove...)
		return c
	})
	if err != nil {
		return Issued{}, fmt.Errorf("%s: %w", h.Path, err)
	}
	return Issued{Path: h.Path, Certificate: cert, Chain: chain(cert), Cut: o.cut(cert)}, nil
}

// install is the change that makes chain the live certificate of h. Whatever
// was pending belonged to another set and goes.
func install(h Holder, chain []*x509.Certificate) Change {
	c := Change{Path: h.Path, Revision: h.Revision, KeyMade: h.KeyMade, Put: map[string][]byte{
		KeyCertificate: pki.EncodeCertificates(chain[0]),
		KeyChain:       pki.EncodeCertificates(chain...),
		KeySerial:      []byte(pki.SerialOf(chain[0])),
	}}
	for name := range h.Pending {
		c.Remove = append(c.Remove, pendingKey(name))
	}
	return c
}

// keepExternal refuses to replace, unasked, a valid certificate of another PKI.
func (a *Authority) keepExternal(ctx context.Context, h Holder, have set) error {
	if len(have.chain) == 0 || a.now().After(have.chain[0].NotAfter) {
		return nil
	}
	ours, err := a.recorded(ctx, have.chain[0])
	if err != nil || ours {
		return err
	}
	return hint.With(fmt.Errorf("%w: the certificate of %s was signed by %q, not by this cluster, and is valid until %s",
		ErrConflict, h.Path, have.chain[0].Issuer.CommonName, have.chain[0].NotAfter.UTC().Format("2006-01-02")),
		"repeat with --yes to replace it, or renew it where it was signed: \"omca %s certificate signing-request\"", h.Path)
}

// orderFor is the walk that gives h a certificate over key.
func (a *Authority) orderFor(ctx context.Context, who usr.Caller, h Holder, key crypto.Signer) (order, error) {
	return a.orderOver(ctx, who, h, key.Public(), key)
}

// orderOver is orderFor for a key of which only the public half is here, unless
// it is a CA's that signs itself.
func (a *Authority) orderOver(ctx context.Context, who usr.Caller, h Holder, public crypto.PublicKey, key crypto.Signer) (order, error) {
	o := order{who: who, validity: h.Validity, asked: h.ValiditySet, owner: h.Path, since: h.Created}
	var err error
	if o.profile, err = pki.LookupProfile(h.Profile); err != nil {
		return order{}, fmt.Errorf("%w: %s: %w", ErrInvalid, h.Path, err)
	}
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return order{}, err
	}
	subject := h.Subject
	switch h.Profile {
	case ProfileCA:
		subject.CommonName = cmp.Or(subject.CommonName, cluster.Name+" CA")
		o.constraints = constraints(cluster.Name, h)
	case ProfileOCSP:
		subject.CommonName = cmp.Or(subject.CommonName, cluster.Name+" OCSP")
	}
	if o.id, err = holderIdentity(cluster.Name, h); err != nil {
		return order{}, err
	}
	names := h.Names
	if h.Profile == ProfileListener && subject.CommonName == "" && names.Empty() {
		if subject.CommonName, names, err = a.unnamed(ctx, h); err != nil {
			return order{}, err
		}
	}
	if o.request, err = pki.NewRequest(public, subject, names); err == nil {
		o.request, err = named(o.request, o.profile)
	}
	if err != nil {
		return order{}, fmt.Errorf("%w: %s: %w", ErrInvalid, h.Path, err)
	}
	if h.Profile == ProfileUser {
		if o.request, err = userNames(o.request, h.Name, h.Names, h.MayAsk); err != nil {
			return order{}, fmt.Errorf("%s: %w", h.Path, err)
		}
	}
	if o.issuer, err = a.issuerFor(ctx, h, key); err != nil {
		return order{}, err
	}
	if !isRoot(who) {
		self, err := a.selfOf(ctx, who)
		if err != nil {
			return order{}, err
		}
		o.mayAsk, o.most = self.MayAsk, self.MaxValidity
		if h.Profile != ProfileUser { // the subject of a user is set by root
			if err := ownParts(who, groups(h.Subject, self.Subject)); err != nil {
				return order{}, fmt.Errorf("%s: %w", h.Path, err)
			}
		}
	}
	return o, nil
}

// unnamed gives a server's certificate whose keywords name nobody a name: an
// older manual creates system/sec/cert-<cluster>, which the listener then
// serves, before it sets any. The listener goes on answering to its names;
// any other object has its own name.
func (a *Authority) unnamed(ctx context.Context, h Holder) (cn string, names pki.Names, err error) {
	if !strings.HasPrefix(h.Path, PathListener+"-") {
		return h.Name, names, nil
	}
	served, err := a.store.Holder(ctx, PathListener)
	if errors.Is(err, ErrNotFound) {
		return h.Name, names, nil
	}
	return cmp.Or(served.Subject.CommonName, h.Name), served.Names, err
}

// constraints are the name constraints of a CA that its keywords bound: the
// leaves carry SPIFFE IDs, so the trust domain is always allowed.
func constraints(cluster string, h Holder) pki.PolicyRules {
	rules := pki.PolicyRules{Allow: h.AllowNames, Deny: h.DenyNames}
	if len(rules.Allow) > 0 {
		rules.Allow = append(slices.Clone(rules.Allow), "URI:"+cluster)
	}
	return rules
}

// holderIdentity is the SPIFFE ID of the certificate of h. Only the object of
// a user gets the identity of that user: the subject is not enough.
func holderIdentity(cluster string, h Holder) (*url.URL, error) {
	user := h.Profile == ProfileUser
	if user != (h.Path == userPrefix+h.Name) {
		return nil, fmt.Errorf("%w: %s cannot have profile %q: certificates of users belong to %sNAME", ErrInvalid, h.Path, h.Profile, userPrefix)
	}
	if user && h.Subject.CommonName != h.Name {
		return nil, fmt.Errorf("%w: %s: cn is %q, and the name of a user is its cn", ErrInvalid, h.Path, h.Subject.CommonName)
	}
	if h.Profile == ProfileOCSP && !Answers(h.Path) {
		return nil, fmt.Errorf("%w: %s cannot have profile %q: that is for %s and %s-NAME", ErrInvalid, h.Path, h.Profile, PathOCSP, PathOCSP)
	}
	return objectID(cluster, h)
}

// issuerFor returns who signs for h: the object that its keyword ca names, the
// cluster's CA, or, for a CA that names nobody, its own key.
func (a *Authority) issuerFor(ctx context.Context, h Holder, key crypto.Signer) (*issuer, error) {
	path := h.IssuerPath
	if h.Profile == ProfileCA && path == "" {
		root, err := pki.NewRoot(key, a.linter)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, h.Path, err)
		}
		return &issuer{Issuer: root, path: h.Path}, nil
	}
	if path == h.Path {
		return nil, fmt.Errorf("%w: %s: keyword ca names the object itself", ErrInvalid, h.Path)
	}
	if path == "" {
		var err error
		if path, err = a.ClusterCA(ctx); err != nil {
			return nil, err
		}
	}
	return a.issuerAt(ctx, path)
}

// SigningRequest returns the PKCS #10 request, PEM, for the key and the
// keywords of the object at path. The key is made, and kept, when there is none.
func (a *Authority) SigningRequest(ctx context.Context, who usr.Caller, path string) ([]byte, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return nil, err
	}
	if h.Profile == ProfileOCSP {
		return nil, fmt.Errorf("%w: %s: its key is for OCSP answers and has no other certificate", ErrInvalid, path)
	}
	have, err := live(h)
	if err != nil {
		return nil, err
	}
	if have.key == nil {
		if have.key, err = a.makeKey(ctx, who, h); err != nil {
			return nil, err
		}
	} else if err := a.unblocked(ctx, have.key.Public()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pem, err := requestOf(h, have.key)
	if err != nil {
		return nil, hint.With(fmt.Errorf("%w: %s: %w", ErrInvalid, path, err), "set its keywords with \"omca %s config update --set cn=NAME\"", path)
	}
	return pem, nil
}

// requestOf is the request for key with the names that h would get here.
func requestOf(h Holder, key crypto.Signer) ([]byte, error) {
	r, err := pki.NewRequest(key.Public(), h.Subject, h.Names)
	if err == nil && h.Profile == ProfileUser {
		r, err = userNames(r, h.Name, h.Names, h.MayAsk)
	}
	if err != nil {
		return nil, err
	}
	return r.Sign(key)
}

func (a *Authority) makeKey(ctx context.Context, who usr.Caller, h Holder) (crypto.Signer, error) {
	key, err := pki.GenerateKey(h.KeyType)
	if err != nil {
		return nil, err
	}
	pem, err := pki.EncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	c := Change{Path: h.Path, Revision: h.Revision, Put: map[string][]byte{KeyPrivate: pem}, KeyMade: true}
	if err := a.store.Commit(ctx, c); err != nil {
		return nil, fmt.Errorf("%s: private_key: %w", h.Path, err)
	}
	a.log.InfoContext(ctx, "key made", "path", h.Path, "key", pki.DescribeKey(key.Public()), "by", who.By(), "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	return key, nil
}
