package join

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Limits of what is read. A body is cut off there before it is parsed.
const (
	MaxRequest = 64 << 10  // bytes of a request
	MaxAnswer  = 256 << 10 // bytes of an answer

	maxName    = 253
	maxMembers = 64
	maxChain   = 10
	maxCSR     = 32 << 10
	maxPEM     = 64 << 10
	maxKey     = 4 << 10 // of what is sealed
	version    = 1       // of an answer, and of the oldest request that is read

	// Current is the version of the requests of this build: the newest format of a store that
	// the machine reads. There is no 3 that a build was made with.
	Current = 4
)

// Request is what the new machine asks, as JSON.
type Request struct {
	Version int    `json:"version"` // 1 to Current
	Token   string `json:"token"`   // Token.ID
	Cluster string `json:"cluster"` // id of the cluster
	Node    string `json:"node"`    // name that the machine wants
	URL     string `json:"url"`     // https://HOST:PORT, where it takes its peers' connections
	CSR     string `json:"csr"`     // PKCS #10, PEM: of the key of its node certificate
	Key     []byte `json:"key"`     // HPKE public key (X25519, 32 bytes), for this exchange alone
	Proof   []byte `json:"proof"`   // HMAC-SHA256 with a key of the secret, over everything else
}

// Member is a member of the cluster as its peers reach it.
type Member struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Grant is what the member gives to the machine.
type Grant struct {
	Certificate string   `json:"certificate"` // chain of the node certificate, PEM, leaf first
	CA          string   `json:"ca"`          // CAs that node certificates are trusted from, PEM
	Members     []Member `json:"members"`     // all, the new one among them
}

// Answer is what comes back, as JSON.
type Answer struct {
	Version int    `json:"version"` // 1
	Cluster string `json:"cluster"`
	Grant
	Sealed []byte `json:"sealed"` // HPKE: encapsulated key, then the master key
}

// ParseRequest reads a request, strictly. Errors: ErrInvalid, for the log; the
// caller hears ErrRefused.
func ParseRequest(text []byte) (Request, error) {
	r, err := parse[Request](text, MaxRequest)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Request{}, err
	}
	return r, nil
}

func (r Request) check() error {
	switch {
	case r.Version < version || r.Version > Current:
		return fmt.Errorf("%w: request of version %d, this program reads versions %d to %d", ErrInvalid, r.Version, version, Current)
	case len(r.Token) != 32 || strings.Trim(r.Token, "0123456789abcdef") != "":
		return fmt.Errorf("%w: the id of the token has 32 hexadecimal digits", ErrInvalid)
	case !word(r.Cluster, maxCluster):
		return fmt.Errorf("%w: the id of the cluster", ErrInvalid)
	case len(r.Key) != 32 || len(r.Proof) != 32:
		return fmt.Errorf("%w: key and proof have 32 bytes each", ErrInvalid)
	}
	if err := checkMember(Member{Name: r.Node, URL: r.URL}); err != nil {
		return err
	}
	return checkPEM("csr", r.CSR, "CERTIFICATE REQUEST", 1, maxCSR)
}

// ParseAnswer reads an answer, strictly. Errors: ErrInvalid.
func ParseAnswer(text []byte) (Answer, error) {
	a, err := parse[Answer](text, MaxAnswer)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return Answer{}, err
	}
	return a, nil
}

func (a Answer) check() error {
	switch {
	case a.Version != version:
		return fmt.Errorf("%w: answer of version %d, this program reads version %d", ErrInvalid, a.Version, version)
	case !word(a.Cluster, maxCluster):
		return fmt.Errorf("%w: the id of the cluster", ErrInvalid)
	case len(a.Sealed) < 32+16+1 || len(a.Sealed) > maxKey+48:
		return fmt.Errorf("%w: the sealed key has %d bytes", ErrInvalid, len(a.Sealed))
	}
	return a.Grant.check()
}

func (g Grant) check() error {
	if len(g.Members) == 0 || len(g.Members) > maxMembers {
		return fmt.Errorf("%w: %d members: expected 1 to %d", ErrInvalid, len(g.Members), maxMembers)
	}
	names, urls := map[string]bool{}, map[string]bool{}
	for _, m := range g.Members {
		if err := checkMember(m); err != nil {
			return err
		}
		if names[m.Name] || urls[m.URL] {
			return fmt.Errorf("%w: member %q at %s comes twice", ErrInvalid, m.Name, m.URL)
		}
		names[m.Name], urls[m.URL] = true, true
	}
	if err := checkPEM("certificate", g.Certificate, "CERTIFICATE", maxChain, maxPEM); err != nil {
		return err
	}
	return checkPEM("ca", g.CA, "CERTIFICATE", maxChain, maxPEM)
}

func checkMember(m Member) error {
	if m.Name == "" || len(m.Name) > maxName || strings.Trim(m.Name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		return fmt.Errorf("%w: name of a node: expected a-z, 0-9, \".\", \"-\" and \"_\"", ErrInvalid)
	}
	u, err := url.Parse(m.URL)
	if err != nil || len(m.URL) > maxAddress || u.Hostname() == "" || u.Port() == "" || m.URL != "https://"+u.Host {
		return fmt.Errorf("%w: URL of node %q: expected https://HOST:PORT", ErrInvalid, m.Name)
	}
	return nil
}

// checkPEM: nothing but blocks of one kind, without headers. What is in them is
// for the reader of certificates.
func checkPEM(what, text, kind string, most, size int) error {
	if len(text) > size {
		return fmt.Errorf("%w: %s has %d bytes, more than %d", ErrInvalid, what, len(text), size)
	}
	rest, n := []byte(text), 0
	for len(bytes.TrimSpace(rest)) > 0 {
		if !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("-----BEGIN ")) {
			return fmt.Errorf("%w: %s is not PEM", ErrInvalid, what)
		}
		var b *pem.Block
		b, rest = pem.Decode(rest)
		if n++; b == nil || b.Type != kind || len(b.Headers) > 0 || n > most {
			return fmt.Errorf("%w: %s: expected 1 to %d PEM blocks %q", ErrInvalid, what, most, kind)
		}
	}
	if n == 0 {
		return fmt.Errorf("%w: %s is empty", ErrInvalid, what)
	}
	return nil
}

// parse reads one JSON value with nothing unknown in it and nothing behind it.
func parse[T any](text []byte, most int) (T, error) {
	var v T
	if len(text) > most {
		return v, fmt.Errorf("%w: %d bytes, more than %d", ErrInvalid, len(text), most)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return v, fmt.Errorf("%w: something follows the message", ErrInvalid)
	}
	return v, nil
}
