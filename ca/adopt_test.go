package ca_test

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/ca"
	"omca/crl"
	"omca/internal/object"
	"omca/pki"
	"omca/pki/flocker/flockertest"
	"omca/pki/lint"
	"omca/usr"
)

const (
	flockerCluster = "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a"
	flockerNode    = "6f9c2b1e-8a54-4f0d-9b7e-2f1c3d4e5a6b"
)

// offline is a cluster of Flocker's that is about to be adopted.
type offline struct {
	*flockertest.Authority
	signed []ca.AdoptedFile
}

func newOffline(t *testing.T, users ...string) *offline {
	t.Helper()
	o := &offline{Authority: flockertest.New(t, "mycluster", flockerCluster, start().Add(-24*time.Hour))}
	for _, user := range users {
		o.add(user+".crt", o.User(user))
	}
	return o
}

func (o *offline) add(name string, h flockertest.Holder) {
	o.signed = append(o.signed, ca.AdoptedFile{Name: name, Certificate: h.Certificate()})
}

// adoption is what Adopt is asked for.
func (w *world) adoption(o *offline) ca.Adoption {
	w.t.Helper()
	key, err := pki.EncodePrivateKey(o.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	return ca.Adoption{
		Path: ca.PathCA, PrivateKey: key, Certificate: o.Certificate(), Signed: o.signed,
		Stage: func(ctx context.Context, path string) (context.Context, error) {
			p, err := object.ParsePath(path)
			if err != nil {
				return nil, err
			}
			return w.objects.Stage(ctx, p, 0, object.NewConfig(p)), nil
		},
	}
}

func (w *world) mustAdopt(o *offline) ca.Adopted {
	w.t.Helper()
	done, err := w.Adopt(w.t.Context(), caller(w.t, "root", "root"), w.adoption(o))
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

func read(t *testing.T, h flockertest.Holder) *x509.Certificate {
	t.Helper()
	certs, err := pki.ParseCertificates(h.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

// Users become objects, everything can be revoked, and the CA goes on.
func TestAdopt(t *testing.T) {
	w := bootstrapped(t)
	o := newOffline(t)
	alice, node := o.User("alice"), o.Node(flockerNode)
	o.add("alice.crt", alice)
	o.add("copy of alice.crt", alice)
	o.add("node.crt", node)
	o.add("control.crt", o.Control("192.0.2.1"))
	o.add("big.crt", o.User("Big Bob"))
	want := ca.Adopted{Changed: true, Users: []string{"system/usr/alice"}, Recorded: 4, Unnamed: []string{"Big Bob"}}
	if diff := cmp.Diff(want, w.mustAdopt(o)); diff != "" {
		t.Errorf("adopted (-want +got):\n%s", diff)
	}
	owners := make(map[string]string)
	for _, r := range w.records(ca.Query{Issuer: ca.PathCA}) {
		if r.Certificate.Version == 1 {
			owners[r.Certificate.Subject.CommonName] = r.Profile + " of " + r.Owner
		}
	}
	if diff := cmp.Diff(map[string]string{
		"user-alice": "usr of system/usr/alice", "user-Big Bob": "usr of " + ca.PathCA,
		"node-" + flockerNode: "node of " + ca.PathCA, "control-service": "listener of " + ca.PathCA,
	}, owners); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}

	id, err := w.Identify(t.Context(), w.verified(read(t, alice)))
	if err != nil || id.User != "alice" || id.Serial != pki.SerialOf(read(t, alice)) {
		t.Errorf("alice is %+v, %v", id, err)
	}
	if _, err := w.Identify(t.Context(), w.verified(read(t, node))); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("a node was taken for a user: %v", err)
	}
	if id, err := w.Identify(t.Context(), w.verified(read(t, o.User("alice")))); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("what is not in the inventory is %+v, %v", id, err)
	}

	// The CA signs on, in its own way.
	w.create("system/usr/carol")
	issued := w.mustIssue("system/usr/carol")
	if err := pki.VerifyChain(issued.Chain, w.now); err != nil || !issued.Chain[1].Equal(read(t, o.Holder)) {
		t.Errorf("chain of carol: %v", err)
	}
	if renewed := w.mustIssue("system/usr/alice"); renewed.Certificate.Subject.CommonName != "alice" {
		t.Errorf("alice's own certificate is for %q", renewed.Certificate.Subject.CommonName)
	}
	w.setNow(w.now.Add(time.Minute))
	if again := w.mustAdopt(o); again.Changed || again.Recorded != 0 || again.Known != 4 || len(again.Users) != 0 {
		t.Errorf("again: %+v", again)
	}
	o.add("new.crt", o.User("alice"))
	if more := w.mustAdopt(o); more.Recorded != 1 || more.Known != 4 || len(more.Users) != 0 {
		t.Errorf("one more: %+v", more)
	}
}

// setNow sets the clock, also while something in the background looks at it.
func (w *world) setNow(at time.Time) {
	w.clock.Lock()
	defer w.clock.Unlock()
	w.now = at
}

// Certificates that name no key that signed them are revoked like others.
func TestAdoptedIsRevoked(t *testing.T) {
	w := bootstrapped(t)
	o := newOffline(t)
	alice, node := o.User("alice"), o.Node(flockerNode)
	o.add("alice.crt", alice)
	o.add("node.crt", node)
	w.mustAdopt(o)
	root := read(t, o.Holder)
	for _, cert := range []*x509.Certificate{read(t, alice), read(t, node)} {
		r, err := w.Revoke(t.Context(), caller(t, "root", "root"), pki.SerialOf(cert), crl.KeyCompromise)
		if err != nil || r.Authority != pki.AuthorityOf(root).String() || r.KeyID != hex.EncodeToString(root.SubjectKeyId) {
			t.Fatalf("revoked under CA %q, key %q, want %s, %x: %v", r.Authority, r.KeyID, pki.AuthorityOf(root), root.SubjectKeyId, err)
		}
		if revoked, err := w.Revoked(t.Context(), r.Serial); err != nil || !revoked {
			t.Errorf("revoked: %v, %v", revoked, err)
		}
		if _, revoked, err := w.RevocationOf(t.Context(), cert); err != nil || !revoked {
			t.Errorf("the certificate itself is revoked: %v, %v", revoked, err)
		}
	}
	stranger := read(t, flockertest.New(t, "x", flockerCluster, start()).User("alice"))
	if _, revoked, err := w.RevocationOf(t.Context(), stranger); err != nil || revoked {
		t.Errorf("a stranger's is revoked: %v, %v", revoked, err)
	}
	publisher := w.NewPublisher()
	if _, err := publisher.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := publisher.Current("ca")
	if err != nil {
		t.Fatal(err)
	}
	verified, err := list.Read()
	if err != nil {
		t.Fatal(err)
	}
	set := crl.NewSet(crl.Sources{Lists: []*crl.Verified{verified}})
	for _, cert := range []*x509.Certificate{read(t, alice), read(t, node)} {
		if v := set.Check(cert, root, w.now); v.Status != crl.Revoked || v.Reason != crl.KeyCompromise {
			t.Errorf("%s on the list: %+v", cert.Subject, v)
		}
	}
}

// A certificate with the serial number of another is not that one.
func TestAdoptedTwin(t *testing.T) {
	w := bootstrapped(t)
	o := newOffline(t)
	alice := o.User("alice")
	o.add("alice.crt", alice)
	w.mustAdopt(o)
	issuer, err := pki.NewIssuer([]*x509.Certificate{read(t, o.Holder)}, o.Key, lint.New())
	if err != nil {
		t.Fatal(err)
	}
	profile, err := pki.LookupProfile("usr")
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	request, err := pki.NewRequest(key.Public(), pki.Subject{CommonName: "user-alice", OrganizationalUnit: flockerCluster}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	draft, err := issuer.Draft(request, pki.Terms{Profile: profile, Serial: pki.SerialOf(read(t, alice)), NotBefore: w.now, NotAfter: w.now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	twin, err := issuer.Sign(draft)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.Identify(t.Context(), w.verified(twin)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("the twin is %+v, %v", id, err)
	}
	o.add("twin.crt", flockertest.Holder{DER: twin.Raw, Key: key})
	if _, err := w.Adopt(t.Context(), caller(t, "root", "root"), w.adoption(o)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("both at once: %v", err)
	}
	o.signed = o.signed[1:]
	if _, err := w.Adopt(t.Context(), caller(t, "root", "root"), w.adoption(o)); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("the twin alone: %v", err)
	}
}

// Whatever cannot be adopted is told before anything is written.
func TestAdoptRefuses(t *testing.T) {
	other := newOffline(t)
	otherKey, err := pki.EncodePrivateKey(other.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		spoil func(*world, *offline, *ca.Adoption)
		want  error
		text  string
	}{
		"another key":     {func(_ *world, _ *offline, ad *ca.Adoption) { ad.PrivateKey = otherKey }, ca.ErrInvalid, "is for another key"},
		"junk":            {func(_ *world, _ *offline, ad *ca.Adoption) { ad.Certificate = []byte("junk") }, ca.ErrInvalid, "no PEM block"},
		"a leaf for a CA": {func(_ *world, o *offline, ad *ca.Adoption) { ad.Certificate = o.User("x").Certificate() }, ca.ErrInvalid, "is not a CA's"},
		"two CAs": {func(_ *world, _ *offline, ad *ca.Adoption) {
			ad.Certificate = append(ad.Certificate, ad.Certificate...)
		}, ca.ErrInvalid, "2 certificates"},
		"an expired CA": {func(w *world, _ *offline, _ *ca.Adoption) { w.now = start().Add(flockertest.Lifetime) }, ca.ErrInvalid, "expired"},
		"another's": {func(_ *world, _ *offline, ad *ca.Adoption) {
			ad.Signed = append(ad.Signed, ca.AdoptedFile{Name: "eve.crt", Certificate: other.User("eve").Certificate()})
		}, ca.ErrInvalid, "eve.crt"},
		"the CA itself": {func(_ *world, o *offline, ad *ca.Adoption) {
			ad.Signed = append(ad.Signed, ca.AdoptedFile{Name: "ca.crt", Certificate: o.Certificate()})
		}, ca.ErrInvalid, "ca.crt"},
		"a listener":     {func(_ *world, _ *offline, ad *ca.Adoption) { ad.Path = ca.PathListener }, ca.ErrInvalid, `its profile is "listener"`},
		"nowhere":        {func(_ *world, _ *offline, ad *ca.Adoption) { ad.Path = "system/sec/ca-none" }, ca.ErrNotFound, "does not exist"},
		"a user of ours": {func(w *world, _ *offline, _ *ca.Adoption) { w.create("system/usr/alice", "grant=root") }, ca.ErrConflict, "system/usr/alice exists already"},
		"too many":       {func(_ *world, _ *offline, ad *ca.Adoption) { ad.Signed = slices.Repeat(ad.Signed, 2001) }, ca.ErrInvalid, "at most 2000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := bootstrapped(t)
			o := newOffline(t, "alice")
			ad := w.adoption(o)
			tt.spoil(w, o, &ad)
			before := w.value(ca.PathCA, ca.KeyChain)
			_, err := w.Adopt(t.Context(), caller(t, "root", "root"), ad)
			if !errors.Is(err, tt.want) || err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("%v, want %v with %q", err, tt.want, tt.text)
			}
			if n := len(w.records(ca.Query{})); n != 2 {
				t.Errorf("%d records, want the CA's and the listener's", n)
			}
			if string(w.value(ca.PathCA, ca.KeyChain)) != string(before) {
				t.Error("the CA is another")
			}
		})
	}
	w := bootstrapped(t)
	if _, err := w.Adopt(t.Context(), caller(t, "eve", "admin"), w.adoption(newOffline(t))); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("an admin: %v", err)
	}
}

// A user who was deleted stays deleted, and who is made anew under the name is
// somebody else.
func TestAdoptAfterDeletion(t *testing.T) {
	w := bootstrapped(t)
	o := newOffline(t)
	alice := o.User("alice")
	o.add("alice.crt", alice)
	w.mustAdopt(o)
	p, err := object.UserPath("alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.objects.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if again := w.mustAdopt(o); len(again.Users) != 0 {
		t.Errorf("adopting again made %q", again.Users)
	}
	w.now = w.now.Add(time.Hour)
	w.create("system/usr/alice", "grant=root")
	o.add("new.crt", o.User("alice"))
	if _, err := w.Adopt(t.Context(), caller(t, "root", "root"), w.adoption(o)); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("the name of another alice: %v", err)
	}
}

// A store that fails on the way leaves nothing in force, and the same call goes on.
func TestAdoptGoesOn(t *testing.T) {
	w := bootstrapped(t)
	o := newOffline(t, "alice")
	for range 30 {
		o.add("node.crt", o.Node(object.NewUUID()))
	}
	before := w.value(ca.PathCA, ca.KeyChain)
	ctx, cancel := context.WithCancel(t.Context())
	ad := w.adoption(o)
	stage := ad.Stage
	staged := 0
	ad.Stage = func(c context.Context, path string) (context.Context, error) {
		if staged++; staged == 2 { // once it is looked at, then it is written: and the caller goes
			cancel()
		}
		return stage(c, path)
	}
	if _, err := w.Adopt(ctx, caller(t, "root", "root"), ad); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "is as it was") {
		t.Errorf("interrupted: %v", err)
	}
	if string(w.value(ca.PathCA, ca.KeyChain)) != string(before) {
		t.Error("interrupted, the CA is another")
	}
	done := w.mustAdopt(o)
	if !done.Changed || done.Recorded+done.Known != 31 {
		t.Errorf("%+v", done)
	}
	if n := len(w.records(ca.Query{Profile: ca.ProfileNode})); n != 30 {
		t.Errorf("%d nodes", n)
	}
}
