package ca

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// userNames returns the request for the certificate of a user with no other DNS
// names than the keyword names of that user permits, and those that the keyword
// alt_names has, which root sets. A common name that reads like that of a host is
// not repeated among them unless it is permitted. Any other name is usr.ErrDenied.
func userNames(r pki.Request, user string, altNames pki.Names, names []string) (pki.Request, error) {
	if len(r.Names().DNS) == 0 {
		return r, nil
	}
	permitted, err := permits(names)
	if err != nil {
		return r, fmt.Errorf("keyword names of %q: %w", user, err)
	}
	fits := func(host string) bool { return slices.Contains(altNames.DNS, host) || permitted("DNS:"+host) == nil }
	without := r.WithoutHost()
	for _, host := range r.Names().DNS {
		switch {
		case fits(host):
		case !slices.Contains(without.Names().DNS, host):
			r = without
		default:
			return r, hint.With(fmt.Errorf("%w: DNS name %q in a certificate of user %q: the keyword names of that user does not permit it", usr.ErrDenied, host, user),
				"root grants names with \"omca %s%s config update --set names+=%s\"", userPrefix, user, host)
		}
	}
	return r, nil
}

// permits returns the rule that the keyword names of a user is: nil for a name that
// the user may have, and why not for any other.
func permits(names []string) (func(name string) error, error) {
	mine, err := pki.NewPolicy(pki.PolicyRules{Allow: names})
	if err != nil {
		return nil, err
	}
	return func(name string) error {
		if len(names) == 0 {
			return errors.New("the keyword names of this user is empty")
		}
		one, err := pki.ParseNames([]string{name})
		if err != nil {
			return err
		}
		return mine.Check(pki.Subject{}, one)
	}, nil
}

// namesOf returns the keyword names of the user, nil when there is no such user.
func (a *Authority) namesOf(ctx context.Context, user string) ([]string, error) {
	h, err := a.store.Holder(ctx, userPrefix+user)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) { // a name that no object can have
		return nil, nil
	}
	return h.MayAsk, err
}

// personal refuses a certificate that cannot be taken for a user's, whichever CA
// signed it. crypto/x509 keeps the last of several common names, other readers the
// first. RFC 5280, 4.2.1.3: a client signs the handshake, so where keyUsage is there
// it has digitalSignature.
func personal(leaf *x509.Certificate) error {
	n := 0
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%w: the subject %q has %d common names, that of a user has one", ErrInvalid, leaf.Subject, n)
	}
	for _, extension := range leaf.Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}) && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
			usage, _ := pki.Uses(leaf)
			return fmt.Errorf("%w: the certificate of %q cannot sign a handshake: its keyUsage is %q, without digitalSignature", ErrInvalid, leaf.Subject, usage)
		}
	}
	return nil
}
