package ca

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// Naming is what a change of keywords adds to the subject and the names of an object.
type Naming struct {
	Issuer  string      // path of the CA that signs for the object; "" for the cluster's
	Names   []string    // new names, as the keywords cn, alt_names and email hold them
	Subject pki.Subject // new o and ou; other parts are not looked at
}

// MayName decides whether a caller may change an object so, as far as its names,
// organization and unit go. They are held against the keywords of the caller's user, as
// those of a request are, and the names against the policies of the CAs too. The caller may
// have put its own key into the object. The next renewal, which may be by root, signs over
// it what the keywords have come to hold.
//
// Errors: usr.ErrDenied. A policy that changes later, or a CA that cannot sign yet, binds
// when the certificate is issued.
func (a *Authority) MayName(ctx context.Context, who usr.Caller, n Naming) error {
	if isRoot(who) || len(n.Names) == 0 && n.Subject == (pki.Subject{}) {
		return nil
	}
	self, err := a.selfOf(ctx, who)
	if err != nil {
		return err
	}
	if err := ownParts(who, groups(n.Subject, self.Subject)); err != nil || len(n.Names) == 0 {
		return err
	}
	if err := mayAsk(who, n.Names, self.MayAsk); err != nil {
		return err
	}
	names, err := pki.ParseNames(n.Names)
	if err != nil {
		return err
	}
	is, err := a.signerOf(ctx, n.Issuer)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) || errors.Is(err, ErrInvalid) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.withinPolicies(ctx, is, pki.Subject{}, names)
}

// signerOf returns the issuer at a path, the CA of the cluster for "".
func (a *Authority) signerOf(ctx context.Context, path string) (*issuer, error) {
	if path == "" {
		var err error
		if path, err = a.ClusterCA(ctx); err != nil {
			return nil, err
		}
	}
	return a.issuerAt(ctx, path)
}

// withinPolicies holds a subject and names against the policies of an issuer and of every
// CA above it. Errors: usr.ErrDenied.
func (a *Authority) withinPolicies(ctx context.Context, is *issuer, subject pki.Subject, names pki.Names) error {
	above, err := a.above(ctx, is)
	if err != nil {
		return err
	}
	for _, t := range append([]tier{{path: is.path, policy: is.policy}}, above...) {
		if err := t.policy.Check(subject, names); err != nil {
			return hint.With(fmt.Errorf("%w: %s may not sign this: %w", usr.ErrDenied, t.path, err),
				"allow it with \"omca %s config update --set allow_names+=NAME\"", t.path)
		}
	}
	return nil
}

// part is an attribute of a subject beside the common name: the keyword that holds it, the
// value that is asked for, and the value that the caller's user has.
type part struct{ keyword, asked, own string }

// groups are the parts that services read as groups of the one that a certificate speaks
// for. Kubernetes does, in O.
func groups(asked, own pki.Subject) []part {
	return []part{{"o", asked.Organization, own.Organization}, {"ou", asked.OrganizationalUnit, own.OrganizationalUnit}}
}

// places are the parts that say where the subject is.
func places(asked, own pki.Subject) []part {
	return []part{
		{"c", strings.ToUpper(asked.Country), strings.ToUpper(own.Country)}, {"st", asked.Province, own.Province}, {"l", asked.Locality, own.Locality},
	}
}

// ownParts refuses the parts of a subject that are asked for and that are not those of the
// caller's user. Errors: usr.ErrDenied, naming each.
func ownParts(who usr.Caller, parts []part) error {
	var asked, own, set []string
	for _, p := range parts {
		if p.asked == "" || p.asked == p.own {
			continue
		}
		asked = append(asked, fmt.Sprintf("%s %q", p.keyword, p.asked))
		own = append(own, fmt.Sprintf("%s %q", p.keyword, p.own))
		set = append(set, fmt.Sprintf("--set %s=%s", p.keyword, shellWord(p.asked)))
	}
	if asked == nil {
		return nil
	}
	return hint.With(fmt.Errorf("%w: a subject with %s, and the user %q has %s", usr.ErrDenied, strings.Join(asked, ", "), who.Name, strings.Join(own, ", ")),
		"leave it out, or have root run \"omca %s%s config update %s\"", userPrefix, who.Name, strings.Join(set, " "))
}

// shellWord quotes a value that others chose for a command that root may run.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// namedByPath refuses a certificate by the name of an object, which has neither cn nor
// alt_names, over a key that was not made here. The admin of a namespace chooses the names
// of its objects, and may have imported the key: root, which asks for no leave, would sign
// that name over it. The names that other callers may ask for are checked anyway.
func namedByPath(who usr.Caller, h Holder, made bool) error {
	named := h.Profile != ProfileListener || h.Subject.CommonName != "" || !h.Names.Empty()
	if named || made || h.KeyMade || !isRoot(who) || strings.HasPrefix(h.Path, "system/") {
		return nil
	}
	return hint.With(fmt.Errorf("%w: %s has neither cn nor alt_names, and its private_key was not made here", ErrInvalid, h.Path),
		"name it: \"omca %s config update --set cn=%s\"", h.Path, h.Name)
}
