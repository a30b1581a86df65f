package flocker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"omca/pki"
)

// Server returns the TLS configuration of the control service for a port at which
// the role of peer calls: User for the REST API, Node for the agents. The time
// may be nil for that of the system. Errors: ErrRole or pki.ErrInvalid when c is
// not the credential of the control service of its cluster.
func Server(c Credential, peer Role, now func() time.Time) (*tls.Config, error) {
	if peer != User && peer != Node {
		return nil, fmt.Errorf("%w: %q calls no port of the control service", ErrRole, peer)
	}
	config, err := c.config(peer, now)
	if err != nil {
		return nil, err
	}
	if c.Role != Control {
		return nil, fmt.Errorf("%w: the certificate of %q is for the role %q, and %q is what serves", ErrRole, c.Certificate.Subject.CommonName, c.Role, Control)
	}
	// crypto/tls would hold the certificates of version 1 against the CA without
	// their extensions: VerifyConnection does it with them.
	config.ClientAuth = tls.RequireAnyClientCert
	return config, nil
}

// Client returns the TLS configuration of a node or a user, who calls the control
// service: the certificate that answers must be for control-service, whatever
// host was dialled. The time may be nil for that of the system. Errors: ErrRole or
// pki.ErrInvalid when c is not the credential of a node or a user of its cluster.
func Client(c Credential, now func() time.Time) (*tls.Config, error) {
	config, err := c.config(Control, now)
	if err != nil {
		return nil, err
	}
	if c.Role == Control {
		return nil, fmt.Errorf("%w: the control service is called, it calls nobody", ErrRole)
	}
	config.ServerName = ControlName
	// As in Server: it is VerifyConnection that verifies, in place of crypto/tls.
	config.InsecureSkipVerify = true
	return config, nil
}

// config is what both sides have: their certificate, and who the other must be.
func (c Credential) config(peer Role, now func() time.Time) (*tls.Config, error) {
	if c.Certificate == nil || c.Key == nil || c.Authority == nil {
		return nil, errors.New("flocker: a Credential needs Certificate, Key and Authority")
	}
	if !pki.SameKey(c.Certificate.PublicKey, c.Key.Public()) {
		return nil, fmt.Errorf("%w: the key is not that of the certificate of %q", pki.ErrInvalid, c.Certificate.Subject.CommonName)
	}
	at := func() time.Time {
		if now == nil {
			return time.Time{} // now, for crypto/x509
		}
		return now()
	}
	if _, err := c.Role.Verify(c.Certificate, c.Authority, at()); err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{c.Certificate.Raw}, PrivateKey: c.Key, Leaf: c.Certificate}},
		MinVersion:   tls.VersionTLS12,
		Time:         now,
		// It is also asked about resumed connections, which VerifyPeerCertificate is not.
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return fmt.Errorf("%w: no certificate came, want that of the role %q", ErrRole, peer)
			}
			_, err := peer.Verify(state.PeerCertificates[0], c.Authority, at())
			return err
		},
	}, nil
}
