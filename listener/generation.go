package listener

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// ErrGeneration is the error of a [Generation] that cannot work.
var ErrGeneration = errors.New("listener: this generation cannot work")

// ticketLife is how long one session ticket key is in use. Explicit keys turn the rotation of
// crypto/tls off, and whoever gets hold of one reads the sessions it protects.
const ticketLife = 24 * time.Hour

// Version is the oldest TLS version that a listener speaks.
type Version int

const (
	// TLS13 is TLS 1.3 and nothing older: the default.
	TLS13 Version = iota
	// TLS12 also allows TLS 1.2, with the suites that have forward secrecy and authenticated
	// encryption only.
	TLS12
)

// suites12 are the TLS 1.2 suites that RFC 9325, section 4.2 recommends, and the ChaCha20-Poly1305
// ones. TLS 1.3 has only good suites and ignores the list.
func suites12() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// Generation is what handshakes get until the next [Listener.Swap].
type Generation struct {
	// Certificate is presented, leaf first, with its private key, and OCSPStaple if there is one. A
	// self-signed root at the end is not sent.
	Certificate tls.Certificate
	// ClientCAs are trusted for client certificates. Never nil, which would mean the system's
	// roots; an empty pool trusts nobody. Two pools with the same certificates count as the same
	// trust.
	ClientCAs *x509.CertPool
	// MinVersion is the oldest TLS version spoken.
	MinVersion Version
}

// generation is a Generation that has proved that it works: an immutable configuration, built once,
// so that a handshake costs a pointer load and not a clone.
type generation struct {
	Generation
	tls *tls.Config
	// ticketKey and ticketsSince are guarded by Listener.mu.
	ticketKey [32]byte
}

// build checks that g can work and returns it as a configuration. What is refused is what no client
// could ever talk to, or would trust the wrong ones. An expired certificate is not: refusing it
// would also refuse the removal of a CA that comes with the same generation.
func (l *Listener) build(g Generation) (*generation, error) {
	leaf, err := checkPair(g.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGeneration, err)
	}
	if g.ClientCAs == nil {
		return nil, fmt.Errorf("%w: the pool of client CAs is nil, which would trust the roots of the system", ErrGeneration)
	}
	if g.MinVersion != TLS13 && g.MinVersion != TLS12 {
		return nil, fmt.Errorf("%w: unknown minimum TLS version %d", ErrGeneration, g.MinVersion)
	}
	g.ClientCAs = g.ClientCAs.Clone() // the caller may go on with its own
	g.Certificate.Certificate = withoutRoot(g.Certificate.Certificate)
	g.Certificate.Leaf = leaf

	config := &tls.Config{
		Time:         l.now,
		MinVersion:   tls.VersionTLS13,
		CipherSuites: suites12(),
		// Not inherited from the configuration that GetConfigForClient replaces.
		NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs:  g.ClientCAs,
		// Certificates stays empty: a client without SNI would get that one whatever this returns.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &g.Certificate, nil },
		// Small records let a browser draw the first lines of a page sooner. Our answers are read whole: a
		// certificate with its chain is one record and one write in place of five.
		DynamicRecordSizingDisabled: true,
		// VerifyPeerCertificate does not run on resumption, this does.
		VerifyConnection: l.verifyConnection,
	}
	if g.MinVersion == TLS12 {
		config.MinVersion = tls.VersionTLS12
	}
	built := &generation{Generation: g, tls: config}
	built.renewTickets()
	if err := l.tryHandshakes(config); err != nil {
		return nil, fmt.Errorf("%w: a handshake with itself fails: %w", ErrGeneration, err)
	}
	return built, nil
}

// checkPair returns the parsed leaf of a certificate whose private key belongs to it.
func checkPair(pair tls.Certificate) (*x509.Certificate, error) {
	if len(pair.Certificate) == 0 {
		return nil, errors.New("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("the first certificate does not parse: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the private key of %q cannot sign: it is a %T", leaf.Subject, pair.PrivateKey)
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(signer.Public()) {
		return nil, fmt.Errorf("the private key (%T) is not that of the first certificate, %q (%T)",
			signer.Public(), leaf.Subject, leaf.PublicKey)
	}
	return leaf, nil
}

// withoutRoot drops a self-signed certificate from the end of a chain.
//
// RFC 8446, 4.4.2: a certificate that specifies a trust anchor MAY be omitted, provided that peers
// have it; and those that do not have it would not trust it for being sent.
func withoutRoot(chain [][]byte) [][]byte {
	last := len(chain) - 1
	root, err := x509.ParseCertificate(chain[last])
	if last == 0 || err != nil || root.CheckSignatureFrom(root) != nil {
		return chain // one that does not parse is found by the handshake
	}
	return slices.Clone(chain[:last])
}

// sameIdentity says whether a client that resumes from the other generation would see no
// difference.
func (g *generation) sameIdentity(other *generation) bool {
	return g.MinVersion == other.MinVersion &&
		g.ClientCAs.Equal(other.ClientCAs) &&
		slices.EqualFunc(g.Certificate.Certificate, other.Certificate.Certificate, slices.Equal)
}

// renewTickets gives the generation a ticket key of its own. Tickets sealed with another one are no
// longer understood and lead to a full handshake.
func (g *generation) renewTickets() {
	rand.Read(g.ticketKey[:]) // never fails
	g.tls.SetSessionTicketKeys([][32]byte{g.ticketKey})
}

// keepTickets makes the tickets of the other generation good for this one.
func (g *generation) keepTickets(other *generation) {
	g.ticketKey = other.ticketKey
	g.tls.SetSessionTicketKeys([][32]byte{g.ticketKey})
}

// trusts says whether the client certificate of p chains to the pool at the given time.
func (g *generation) trusts(p Peer, at time.Time) bool {
	for _, chain := range p.Chains {
		between := x509.NewCertPool()
		for _, c := range chain[1:] {
			between.AddCert(c)
		}
		_, err := p.Certificate.Verify(x509.VerifyOptions{
			Roots: g.ClientCAs, Intermediates: between, CurrentTime: at,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil {
			return true
		}
	}
	return false
}

// tryHandshakes lets a configuration talk to itself, in each version that it offers: a key that
// does not sign, a chain that does not parse, a suite that does not fit show here and not in
// production.
func (l *Listener) tryHandshakes(config *tls.Config) error {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if version < config.MinVersion {
			continue
		}
		if err := l.tryHandshake(config, version); err != nil {
			return fmt.Errorf("%s: %w", tls.VersionName(version), err)
		}
	}
	return nil
}

func (l *Listener) tryHandshake(config *tls.Config, version uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), l.limits.Handshake)
	defer cancel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()

	served := make(chan error, 1)
	go func() {
		defer near.Close() // the other end need not wait after a panic
		served <- l.guard(taskGeneration, func() error {
			server := tls.Server(near, config)
			err := server.HandshakeContext(ctx)
			return errors.Join(err, server.Close())
		})
	}()
	// Whom the certificate names is for real clients to judge; that its key signed this handshake
	// is checked nevertheless.
	client := tls.Client(far, &tls.Config{
		InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, Time: config.Time,
	})
	if err := client.HandshakeContext(ctx); err != nil {
		far.Close()
		return fmt.Errorf("the client says %w, the server says %v", err, <-served)
	}
	// TLS 1.3 sends session tickets after the client is done: read up to the end.
	if _, err := io.Copy(io.Discard, client); err != nil {
		far.Close()
		return fmt.Errorf("the client says %w, the server says %v", err, <-served)
	}
	return <-served
}
