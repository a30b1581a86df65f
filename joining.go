package omca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/join"
	"omca/internal/member"
	"omca/internal/seal"
	"omca/pki"
)

// Join says which cluster a fresh home becomes a member of.
type Join struct {
	Token   string // as "omca cluster token" prints it: a secret, good once
	Address string // HOST:PORT of a member's listener, tried first; "" for those in the token
}

// of reports whether the token is of the cluster with that id: a service whose start
// joins does so once, and starts what it joined from then on.
func (j *Join) of(id string) bool {
	token, err := join.ParseToken(strings.TrimSpace(j.Token))
	return err == nil && token.Cluster == id
}

const joinPatience = 30 * time.Second

// joinCluster makes the machine a member of the cluster that its token is of. It
// trusts nobody at first sight: the token has the fingerprint of the CA, and the
// answer opens only for who asked and comes only from who knows the token.
func joinCluster(ctx context.Context, c Config) (*membership, error) {
	token, err := join.ParseToken(strings.TrimSpace(c.Join.Token))
	if err != nil {
		return nil, hint.With(err, "give the word that \"omca cluster token\" printed")
	}
	if err := freshHome(c.Home); err != nil {
		return nil, err
	}
	listen, at, err := peerAddress(c.Peer, c.NodeName)
	if err != nil {
		return nil, err
	}
	m := &membership{State: stateJoining, Node: c.NodeName, ID: token.Cluster, URL: at, Listen: listen, Joined: true}
	if _, err := nodePath(m.Node); err != nil {
		return nil, err
	}
	lock, err := lockMember(c.Home)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()              // it was opened for its lock alone
	if err := c.probePeer(ctx, listen); err != nil { // before a token is spent
		return nil, err
	}
	if err := m.write(c.Home); err != nil {
		return nil, err
	}
	a := applicant{Config: c, token: token, as: m}
	if err := a.apply(ctx); err != nil {
		return nil, fmt.Errorf("joining the cluster: %w", err)
	}
	m.State = stateMember
	c.Log.InfoContext(ctx, "joined", "cluster", m.Cluster, "node", m.Node)
	return m, m.write(c.Home)
}

// freshHome refuses a home that has anything of another authority in it.
func freshHome(home string) error {
	names := []string{storeFile, keptStore, storeSettings}
	m, err := readMembership(home)
	if err != nil {
		return err
	}
	if m == nil {
		names = append(names, sealKey, etcdDir, copyFile)
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(home, name)); !errors.Is(err, fs.ErrNotExist) {
			return hint.With(errors.Join(fmt.Errorf("%w: %s has %s: only a fresh home joins a cluster", ca.ErrConflict, home, name), err),
				"name another home with --home DIR, or take a backup of this one and move it away")
		}
	}
	if m == nil {
		return nil
	}
	// What an attempt left that failed on its way.
	if err := removeCopy(home); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(home, etcdDir)), os.RemoveAll(filepath.Join(home, peerDir)), removeIfThere(filepath.Join(home, sealKey)))
}

// removeCopy removes what a home has of a store that is elsewhere.
func removeCopy(home string) error {
	files, err := filepath.Glob(filepath.Join(home, copyFile+"*"))
	for _, name := range files {
		err = errors.Join(err, removeIfThere(name))
	}
	return err
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// applicant is a machine on its way to be a member.
type applicant struct {
	Config
	token join.Token
	as    *membership
}

// apply asks the cluster, and writes what it is given into the home.
func (a applicant) apply(ctx context.Context) error {
	key, err := pki.GenerateKey("")
	if err != nil {
		return err
	}
	csr, err := pki.CreateSigningRequest(key, pki.Subject{CommonName: a.as.Node}, pki.Names{})
	if err != nil {
		return err
	}
	session, err := join.Begin(a.token, join.Member{Name: a.as.Node, URL: a.as.URL}, csr, a.Now())
	if err != nil {
		return err
	}
	text, err := a.ask(ctx, session.Body())
	if err != nil {
		return err
	}
	grant, master, err := session.Finish(text)
	if err != nil {
		return err
	}
	return a.take(key, grant, master)
}

// ask sends the request to the first member that answers. It can be sent to
// several: it is good once.
func (a applicant) ask(ctx context.Context, body []byte) ([]byte, error) {
	addresses := slices.Clone(a.token.Addresses)
	if a.Join.Address != "" {
		addresses = []string{a.Join.Address}
	}
	var failed []error
	for _, address := range addresses {
		text, err := a.askOne(ctx, address, body)
		if err == nil {
			return text, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", address, err))
		if errors.Is(err, join.ErrRefused) || errors.Is(err, ca.ErrConflict) {
			break // another member would say the same
		}
	}
	return nil, hint.With(errors.Join(failed...), "a token is good once and for a while: \"omca cluster token\" on a member prints another")
}

func (a applicant) askOne(ctx context.Context, address string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: expected HOST:PORT", ca.ErrInvalid, address)
	}
	authority, err := a.findCA(ctx, address)
	if err != nil {
		return nil, err
	}
	answer, status, err := exchange(ctx, http.MethodPost, "https://"+address+"/api/cluster/join", body, func(s tls.ConnectionState) error {
		chain := slices.Clone(s.PeerCertificates) // the listener leaves out what everybody has: its root
		if !slices.ContainsFunc(chain, authority.Equal) {
			chain = append(chain, authority)
		}
		return a.token.CheckChain(chain, host, a.Now())
	})
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusOK:
		return answer, nil
	case status == http.StatusForbidden:
		return nil, join.ErrRefused
	}
	var problem struct{ Detail, Hint string }
	if err := json.Unmarshal(answer, &problem); err != nil || problem.Detail == "" {
		return nil, fmt.Errorf("it answers %d %s", status, http.StatusText(status))
	}
	err = errors.New(problem.Detail)
	if status == http.StatusConflict || status == http.StatusBadRequest {
		err = fmt.Errorf("%w: %s", ca.ErrConflict, problem.Detail)
	}
	if problem.Hint != "" {
		err = hint.With(err, "%s", problem.Hint)
	}
	return nil, err
}

// findCA fetches the certificate of the CA, from anybody: it is the one that the
// token has the fingerprint of, or it is not taken.
func (a applicant) findCA(ctx context.Context, address string) (*x509.Certificate, error) {
	text, status, err := exchange(ctx, http.MethodGet, "https://"+address+"/ca.pem", nil, func(tls.ConnectionState) error { return nil })
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("ca.pem: it answers %d %s", status, http.StatusText(status))
	}
	certs, err := pki.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("ca.pem: %w", err)
	}
	for _, cert := range certs {
		if sha256.Sum256(cert.Raw) == a.token.Fingerprint {
			return cert, nil
		}
	}
	return nil, fmt.Errorf("%w: its CA has the fingerprint %s, the token %x", join.ErrUntrusted, pki.Fingerprint(certs[0]), a.token.Fingerprint)
}

// exchange does one request on a connection of its own, on which verify alone
// decides whether it goes through. Nothing of the environment has a part in it.
func exchange(ctx context.Context, method, url string, body []byte, verify func(tls.ConnectionState) error) ([]byte, int, error) {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: verify},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, join.MaxAnswer+1))
	return text, answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// take checks what the machine was given, and writes it into the home.
func (a applicant) take(key crypto.Signer, grant join.Grant, master []byte) error {
	chain, err := pki.ParseCertificates([]byte(grant.Certificate))
	if err != nil {
		return fmt.Errorf("the certificate in the answer: %w", err)
	}
	leaf := chain[0]
	if !pki.SameKey(leaf.PublicKey, key.Public()) || len(leaf.URIs) != 1 || leaf.URIs[0].Path != "/node/"+a.as.Node {
		return fmt.Errorf("%w: the certificate in the answer is not for node %q and its key", join.ErrUntrusted, a.as.Node)
	}
	a.as.Cluster = leaf.URIs[0].Host
	a.as.Peers = nil
	for _, m := range grant.Members {
		a.as.Peers = append(a.as.Peers, member.Peer{Name: m.Name, URL: m.URL})
	}
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		return err
	}
	if _, err := writePair(a.Home, chain, text); err != nil {
		return err
	}
	if err := writePeerCA(a.Home, []byte(grant.CA)); err != nil {
		return err
	}
	if string(master) != sealedByPassphrase {
		return seal.ImportFileMaster(filepath.Join(a.Home, sealKey), master)
	}
	if a.PassphraseFile == "" {
		return hint.With(errors.New("the store of this cluster is sealed with a passphrase, which it gives to nobody"), "get another token, and name the passphrase with --passphrase-file FILE")
	}
	return nil
}

// sealedByPassphrase is in the answer in place of the master key where somebody's
// head, or a file of theirs, has it.
const sealedByPassphrase = "passphrase"
