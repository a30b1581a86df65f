package join_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/internal/join"
)

const cluster = "6f0f1a0e-east"

func now() time.Time { return time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC) }

// chain returns a server's chain: leaf for node1 and 127.0.0.1, CA.
func chain(t testing.TB) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: now().Add(-time.Hour), NotAfter: now().Add(48 * time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node1"}, DNSNames: []string{"node1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: now().Add(-time.Hour), NotAfter: now().Add(24 * time.Hour)}
	var list []*x509.Certificate
	for _, c := range []*x509.Certificate{leaf, ca} {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		read, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, read)
	}
	return list
}

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// records is a Store in memory.
type records struct {
	mu   sync.Mutex
	all  map[string]join.Record
	fail error
	gate *sync.WaitGroup // when set, Token waits until it was called so often
}

func (s *records) Token(_ context.Context, id string) (join.Record, int64, error) {
	s.mu.Lock()
	r, ok := s.all[id]
	s.mu.Unlock()
	if s.gate != nil {
		s.gate.Done()
		s.gate.Wait()
	}
	if !ok {
		return r, 0, join.ErrRefused
	}
	return r, 7, nil
}

func (s *records) Spend(_ context.Context, id string, rev int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if _, ok := s.all[id]; !ok || rev != 7 {
		return join.ErrRefused
	}
	delete(s.all, id)
	return nil
}

// world is a cluster that has given out one token.
type world struct {
	token  join.Token
	server *join.Server
	store  *records
	chain  []*x509.Certificate
	clock  time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{store: &records{all: map[string]join.Record{}}, chain: chain(t), clock: now()}
	token, err := join.Mint(w.chain[1], cluster, []string{"node1:1215", "[::1]:1215"}, now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	w.token = token
	w.store.all[token.ID()] = token.Record("admin")
	w.server = &join.Server{Cluster: cluster, Store: w.store, Now: func() time.Time { return w.clock }}
	return w
}

func (w *world) begin(t testing.TB, node string) *join.Session {
	t.Helper()
	s, err := join.Begin(w.token, join.Member{Name: node, URL: "https://10.0.0.2:1217"}, []byte(text("CERTIFICATE REQUEST", []byte("csr"))), now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) grant() join.Grant {
	return join.Grant{Certificate: text("CERTIFICATE", w.chain[0].Raw), CA: text("CERTIFICATE", w.chain[1].Raw),
		Members: []join.Member{{Name: "n1", URL: "https://10.0.0.1:1217"}, {Name: "n2", URL: "https://10.0.0.2:1217"}}}
}

// refused checks that a request is, with a reason for the log and none for the caller.
func (w *world) refused(t *testing.T, body []byte, reason string) {
	t.Helper()
	r, err := w.server.Redeem(t.Context(), netip.MustParseAddr("10.0.0.2"), body)
	if !errors.Is(err, join.ErrRefused) || r != nil {
		t.Fatalf("%v, expected ErrRefused (%s)", err, reason)
	}
	if err.Error() != join.ErrRefused.Error() {
		t.Errorf("the caller hears %q", err)
	}
	if why := join.Reason(err).Error(); !strings.Contains(why, reason) {
		t.Errorf("the reason is %q, expected %q in it", why, reason)
	}
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	s := w.begin(t, "n2")
	if bytes.Contains(s.Body(), []byte(w.token.Text()[20:50])) {
		t.Error("the request carries the secret")
	}
	r, err := w.server.Redeem(t.Context(), netip.MustParseAddr("10.0.0.2"), s.Body())
	if err != nil {
		t.Fatal(join.Reason(err))
	}
	if r.Node != "n2" || r.By != "admin" {
		t.Errorf("redeemed %+v", r.Request)
	}
	master := []byte("the master key of the cluster, 32")
	answer, err := r.Answer(w.grant(), master)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(answer, master) {
		t.Error("the answer shows the master key")
	}
	got, key, err := s.Finish(answer)
	if err != nil || !bytes.Equal(key, master) || !reflect.DeepEqual(got, w.grant()) {
		t.Errorf("finish: %+v, %q, %v", got, key, err)
	}
	w.refused(t, s.Body(), "used") // replayed
	w.refused(t, w.begin(t, "n3").Body(), "used")
	if _, _, err := w.begin(t, "n2").Finish(answer); !errors.Is(err, join.ErrUntrusted) {
		t.Errorf("another machine opens the answer: %v", err)
	}
}

// A machine that the cluster cannot take hears why, and keeps its token.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	old := errors.New("too old a build")
	w.server.Check = func(r join.Request) error {
		if r.Version != join.Current || r.Node != "n2" {
			t.Errorf("asked about version %d of node %q", r.Version, r.Node)
		}
		return old
	}
	s := w.begin(t, "n2")
	if _, err := w.server.Redeem(t.Context(), netip.Addr{}, s.Body()); !errors.Is(err, old) {
		t.Errorf("it hears %v", err)
	}
	w.refused(t, edited(t, s.Body(), "node", "n3"), "altered") // without the token nothing is said
	w.server.Check = nil
	if _, err := w.server.Redeem(t.Context(), netip.Addr{}, s.Body()); err != nil {
		t.Errorf("the token was spent: %v", join.Reason(err))
	}
}

// Each field of a request and of an answer is bound: changed, it is refused.
func TestTampered(t *testing.T) {
	w := newWorld(t)
	s := w.begin(t, "n2")
	for field, value := range map[string]any{
		"node": "n3", "url": "https://10.0.0.9:1217", "csr": text("CERTIFICATE REQUEST", []byte("another")), "key": bytes.Repeat([]byte{9}, 32),
		"proof": make([]byte, 32), "cluster": "west",
	} {
		w.refused(t, edited(t, s.Body(), field, value), "altered")
	}
	w.refused(t, edited(t, s.Body(), "token", strings.Repeat("0", 32)), "there is none")
	w.refused(t, edited(t, s.Body(), "version", 5), "version 5")
	w.refused(t, edited(t, s.Body(), "more", 1), "unknown field")
	w.refused(t, append(s.Body(), '1'), "follows")
	w.refused(t, make([]byte, join.MaxRequest+1), "more than")

	r, err := w.server.Redeem(t.Context(), netip.Addr{}, s.Body())
	if err != nil {
		t.Fatal("the token was spent by requests that were refused: ", join.Reason(err))
	}
	answer, err := r.Answer(w.grant(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	for field, value := range map[string]any{
		"certificate": text("CERTIFICATE", []byte("another")), "ca": text("CERTIFICATE", []byte("another")),
		"members": []join.Member{{Name: "evil", URL: "https://10.0.0.66:1"}}, "sealed": make([]byte, 60), "cluster": "west",
	} {
		if _, key, err := s.Finish(edited(t, answer, field, value)); !errors.Is(err, join.ErrUntrusted) || key != nil {
			t.Errorf("answer with another %s: %v", field, err)
		}
	}
	if _, _, err := s.Finish(answer); err != nil {
		t.Errorf("the answer as it was: %v", err)
	}
}

func edited(t *testing.T, body []byte, field string, value any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	m[field] = value
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	s := w.begin(t, "n2")
	w.clock = w.token.Expires
	w.refused(t, s.Body(), "expired")
	if _, err := join.Begin(w.token, join.Member{}, nil, w.clock); !errors.Is(err, join.ErrExpired) {
		t.Errorf("the machine begins with an expired token: %v", err)
	}
	w.clock = now()
	w.server.Cluster = "west"
	w.refused(t, s.Body(), `for cluster "6f0f1a0e-east", this is "west"`)
	w.server.Cluster = cluster
	w.server.Limit = func(from netip.Addr) error { return fmt.Errorf("%s tries too often", from) }
	w.refused(t, s.Body(), "10.0.0.2 tries too often")
	w.server.Limit = nil
	w.store.fail = errors.New("no majority")
	if _, err := w.server.Redeem(t.Context(), netip.Addr{}, s.Body()); err == nil || errors.Is(err, join.ErrRefused) {
		t.Errorf("a store that fails: %v", err)
	}
	w.store.fail = nil
	if _, err := w.server.Redeem(t.Context(), netip.Addr{}, s.Body()); err != nil {
		t.Errorf("after all that: %v", join.Reason(err))
	}
}

// Of many requests at once with one token, one is taken.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	var taken sync.Map
	var group sync.WaitGroup
	w.store.gate = &sync.WaitGroup{} // all have found the token before one spends it
	w.store.gate.Add(20)
	for i := range 20 {
		body := w.begin(t, fmt.Sprintf("n%d", i)).Body()
		group.Go(func() {
			if _, err := w.server.Redeem(t.Context(), netip.Addr{}, body); err == nil {
				taken.Store(i, true)
			}
		})
	}
	group.Wait()
	n := 0
	taken.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d requests were taken, expected 1", n)
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	word := w.token.Text()
	got, err := join.ParseToken(word)
	if err != nil || got.Text() != word || !reflect.DeepEqual(got, w.token) {
		t.Fatalf("read back: %v, %v", got, err)
	}
	if strings.ContainsAny(word, " \t\n+/=") {
		t.Errorf("%q is not one word", word)
	}
	for i := range word { // any slip is told, and what was typed is not repeated
		bad := []byte(word)
		if bad[i]++; bad[i] == '_'+1 {
			bad[i] = 'a'
		}
		if _, err := join.ParseToken(string(bad)); !errors.Is(err, join.ErrInvalid) || strings.Contains(err.Error(), word[20:40]) {
			t.Fatalf("with another character %d: %v", i, err)
		}
	}
	for _, bad := range []string{"", "omcajoin1-", word[:len(word)-1], word + "A", word[:30] + "\n" + word[30:], strings.Repeat("x", 3000)} {
		if _, err := join.ParseToken(bad); !errors.Is(err, join.ErrInvalid) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if said := fmt.Sprintf(verb, w.token); said != "token "+w.token.ID() {
			t.Errorf("%s says %q", verb, said)
		}
	}
	for what, mint := range map[string]func() (join.Token, error){
		"no cluster":     func() (join.Token, error) { return join.Mint(w.chain[1], "", []string{"a:1"}, now()) },
		"no address":     func() (join.Token, error) { return join.Mint(w.chain[1], "c", nil, now()) },
		"no port":        func() (join.Token, error) { return join.Mint(w.chain[1], "c", []string{"a"}, now()) },
		"no expiry":      func() (join.Token, error) { return join.Mint(w.chain[1], "c", []string{"a:1"}, time.Time{}) },
		"port too great": func() (join.Token, error) { return join.Mint(w.chain[1], "c", []string{"a:65536"}, now()) },
	} {
		if _, err := mint(); !errors.Is(err, join.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The server is the cluster's, or nothing is sent to it.
func TestCheckChain(t *testing.T) {
	w, other := newWorld(t), chain(t)
	for host, good := range map[string]bool{"node1": true, "127.0.0.1": true, "node2": false} {
		if err := w.token.CheckChain(w.chain, host, now()); (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	for what, list := range map[string][]*x509.Certificate{
		"nothing":                      nil,
		"another CA":                   other,
		"the CA's certificate, copied": {other[0], w.chain[1]},
		"without the CA":               w.chain[:1],
		"the CA itself":                {w.chain[1], w.chain[1]},
	} {
		if err := w.token.CheckChain(list, "node1", now()); !errors.Is(err, join.ErrUntrusted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := w.token.CheckChain(w.chain, "node1", w.token.Expires); !errors.Is(err, join.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func FuzzToken(f *testing.F) {
	w := newWorld(f)
	f.Add(w.token.Text())
	f.Add("omcajoin1-")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := join.ParseToken(s); err == nil && got.Text() != s {
			t.Errorf("%q is read and written as %q", s, got.Text())
		}
	})
}

func FuzzMessages(f *testing.F) {
	w := newWorld(f)
	s := w.begin(f, "n2")
	r, err := w.server.Redeem(f.Context(), netip.Addr{}, s.Body())
	if err != nil {
		f.Fatal(err)
	}
	answer, err := r.Answer(w.grant(), []byte("key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Body())
	f.Add(answer)
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := join.ParseRequest(text); err != nil && !errors.Is(err, join.ErrInvalid) {
			t.Error(err)
		}
		if _, err := w.server.Redeem(t.Context(), netip.Addr{}, text); err == nil {
			t.Error("a spent token is taken")
		}
		_, key, err := s.Finish(text)
		if err == nil && string(key) != "key" {
			t.Error("another key")
		}
		if err != nil && !errors.Is(err, join.ErrInvalid) && !errors.Is(err, join.ErrUntrusted) {
			t.Error(err)
		}
	})
}
