package join

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrInvalid is a text that is no token, request or answer, or says what can never be right.
	ErrInvalid = errors.New("invalid")
	// ErrRefused is all that a caller hears whose request was not taken.
	ErrRefused = errors.New("the token does not open this cluster: it is wrong, used or expired")
	// ErrExpired is a token whose time is over.
	ErrExpired = errors.New("the token has expired")
	// ErrUntrusted is a server that is not the cluster's, as the token tells.
	ErrUntrusted = errors.New("the server is not one of the cluster that the token is of")
)

const (
	prefix       = "omcajoin1-" // 1 is the version
	secretSize   = 32
	checkSize    = 4
	maxToken     = 2048
	maxAddresses = 9
	maxAddress   = 255
	maxCluster   = 128
)

// A Token is what the operator carries to the new machine.
type Token struct {
	secret      [secretSize]byte
	Expires     time.Time // to the second
	Fingerprint [32]byte  // SHA-256 of the DER of the CA's certificate
	Cluster     string    // id of the cluster
	Addresses   []string  // HOST:PORT of members' listeners, 1 to 9
}

// Mint makes a token with a fresh secret. The fields are those of Token.
// Errors: ErrInvalid.
func Mint(ca *x509.Certificate, cluster string, addresses []string, expires time.Time) (Token, error) {
	t := Token{Expires: expires.UTC().Truncate(time.Second), Cluster: cluster, Addresses: addresses}
	t.Fingerprint = sha256.Sum256(ca.Raw)
	rand.Read(t.secret[:]) // never fails: it ends the process
	return t, t.check()
}

func (t Token) check() error {
	if !word(t.Cluster, maxCluster) {
		return fmt.Errorf("%w: the id of the cluster has %d bytes: expected 1 to %d, printable", ErrInvalid, len(t.Cluster), maxCluster)
	}
	if len(t.Addresses) == 0 || len(t.Addresses) > maxAddresses {
		return fmt.Errorf("%w: %d addresses: expected 1 to %d", ErrInvalid, len(t.Addresses), maxAddresses)
	}
	if at := t.Expires.Unix(); at <= 0 || at > 1<<40 {
		return fmt.Errorf("%w: the token has no time of expiry", ErrInvalid)
	}
	for _, a := range t.Addresses {
		host, port, err := net.SplitHostPort(a)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" || !word(a, maxAddress) {
			return fmt.Errorf("%w: address %q: expected HOST:PORT", ErrInvalid, a)
		}
	}
	return nil
}

// word reports whether s is printable ASCII without spaces, of at most that many bytes.
func word(s string, most int) bool {
	return s != "" && len(s) <= most && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// Text returns the token as one word of letters, digits, "-" and "_". It holds
// the secret: it goes to the operator and nowhere else.
func (t Token) Text() string {
	b := append([]byte{}, t.secret[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	b = append(b, t.Fingerprint[:]...)
	b = appendShort(b, t.Cluster)
	b = append(b, byte(len(t.Addresses)))
	for _, a := range t.Addresses {
		b = appendShort(b, a)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(append(b, checksum(b)...))
}

// String never shows the secret.
func (t Token) String() string { return "token " + t.ID() }

// GoString is String, so that no verb of fmt shows the secret.
func (t Token) GoString() string { return t.String() }

func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// checksum tells slips of typing, not attackers.
func checksum(b []byte) []byte {
	sum := sha256.Sum256(append([]byte(prefix), b...))
	return sum[:checkSize]
}

// ParseToken reads what Text has written, and nothing else. Errors: ErrInvalid;
// none repeats a part of the token.
func ParseToken(text string) (Token, error) {
	if len(text) > maxToken {
		return Token{}, fmt.Errorf("%w: the token has %d characters, more than %d", ErrInvalid, len(text), maxToken)
	}
	body, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: a token begins with %q", ErrInvalid, prefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || strings.ContainsAny(body, "\r\n") || len(b) < checkSize || !bytes.Equal(checksum(b[:len(b)-checkSize]), b[len(b)-checkSize:]) {
		return Token{}, fmt.Errorf("%w: the token is cut off or mistyped: copy all of it, it is one word", ErrInvalid)
	}
	r := reader{rest: b[:len(b)-checkSize]}
	var t Token
	copy(t.secret[:], r.take(secretSize))
	if at := r.take(8); at != nil {
		t.Expires = time.Unix(int64(binary.BigEndian.Uint64(at)), 0).UTC()
	}
	copy(t.Fingerprint[:], r.take(32))
	t.Cluster = r.short()
	if n := r.take(1); n != nil {
		for range n[0] {
			t.Addresses = append(t.Addresses, r.short())
		}
	}
	if r.failed || len(r.rest) > 0 {
		return Token{}, fmt.Errorf("%w: the token is malformed", ErrInvalid)
	}
	if err := t.check(); err != nil {
		return Token{}, err
	}
	return t, nil
}

// reader takes bytes off the front; once something is missing it gives nothing more.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || len(r.rest) < n {
		r.failed = true
		return nil
	}
	got := r.rest[:n]
	r.rest = r.rest[n:]
	return got
}

func (r *reader) short() string {
	n := r.take(1)
	if n == nil {
		return ""
	}
	return string(r.take(int(n[0])))
}

// derive makes a key of its own for each purpose out of the secret, which has
// 256 random bits: no slow hash is needed.
func (t Token) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, t.secret[:])
	mac.Write(digest("key for "+purpose, t.Cluster))
	return mac.Sum(nil)
}

// ID names the token where it is kept and in logs. It says nothing of the secret.
func (t Token) ID() string { return hex.EncodeToString(t.derive("id")[:16]) }

// CheckChain holds what a server has shown in its handshake against the token:
// one certificate of the chain is the CA's, and the first one leads to it, is for
// servers and for host. It is all that makes the connection safe, so the caller
// turns off crypto/tls's own verification and calls this in VerifyConnection.
// The server sends its whole chain with the CA. Errors: ErrUntrusted, ErrExpired.
func (t Token) CheckChain(chain []*x509.Certificate, host string, now time.Time) error {
	if !now.Before(t.Expires) {
		return fmt.Errorf("%w at %s", ErrExpired, t.Expires.Format(time.RFC3339))
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("%w: it shows %d certificates", ErrUntrusted, len(chain))
	}
	roots, middle, found := x509.NewCertPool(), x509.NewCertPool(), false
	for _, c := range chain[1:] {
		if sha256.Sum256(c.Raw) == t.Fingerprint {
			roots.AddCert(c)
			found = true
			continue
		}
		middle.AddCert(c)
	}
	if !found {
		return fmt.Errorf("%w: none of its certificates has the fingerprint %x", ErrUntrusted, t.Fingerprint)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: middle, CurrentTime: now, DNSName: strings.Trim(host, "[]"), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return nil
}
