package feed

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
	"omca/internal/outbound"
)

const (
	hour = time.Hour
	day  = 24 * hour
	url1 = "http://crl.mycorp/ca.crl"
)

// ca is a CA of another house.
type ca struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

func newCA(t *testing.T, name string) ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca{cert, key}
}

// draft is a list to be signed.
type draft struct {
	number     int64
	base       int64    // makes it a delta, if not 0
	scope      string   // distribution point, if any
	freshest   []string // where the delta list is
	this, next time.Time
	revoked    []int64
	removed    []int64
}

// list returns a draft of a list made an hour ago, good for a day.
func list(now time.Time, number int64, revoked ...int64) draft {
	return draft{number: number, this: now.Add(-hour), next: now.Add(23 * hour), revoked: revoked}
}

func (c ca) sign(t *testing.T, d draft) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(d.number), ThisUpdate: d.this, NextUpdate: d.next}
	for _, serial := range d.revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: d.this})
	}
	for _, serial := range d.removed {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: d.this, ReasonCode: int(crl.RemoveFromCRL)})
	}
	if len(d.freshest) > 0 {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 46}, Value: pointsOf(d.freshest)})
	}
	if d.base != 0 {
		value, err := asn1.Marshal(d.base)
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: value})
	}
	if d.scope != "" {
		uri := append([]byte{0x86, byte(len(d.scope))}, d.scope...)
		name := append([]byte{0xa0, byte(len(uri))}, uri...)
		point := append([]byte{0xa0, byte(len(name))}, name...)
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: append([]byte{0x30, byte(len(point))}, point...)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, c.Certificate, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// pointsOf returns CRLDistributionPoints, one for each URL.
func pointsOf(urls []string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, address := range urls {
			b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tags.Tag(0xa0), func(b *cryptobyte.Builder) {
					b.AddASN1(tags.Tag(0xa0), func(b *cryptobyte.Builder) {
						b.AddASN1(tags.Tag(0x86), func(b *cryptobyte.Builder) { b.AddBytes([]byte(address)) })
					})
				})
			})
		}
	})
	return b.BytesOrPanic()
}

func pemOf(lists ...[]byte) []byte {
	var text []byte
	for _, der := range lists {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	return text
}

func broken(der []byte) []byte {
	der = bytes.Clone(der)
	der[len(der)-1] ^= 1
	return der
}

// memory is a Memory that can fail.
type memory struct {
	mu     sync.Mutex
	kept   map[string]Kept
	broken error
	saves  int
}

func (m *memory) LoadList(_ context.Context, source string) (Kept, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[source], m.broken
}

func (m *memory) SaveList(_ context.Context, source string, k Kept) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	if m.broken != nil {
		return m.broken
	}
	m.kept[source] = k
	if len(k.DER) == 0 {
		delete(m.kept, source)
	}
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

// bench is Feeds and all that is around them.
type bench struct {
	*Feeds
	t      *testing.T
	memory *memory
	log    *lines

	mu      sync.Mutex
	signers []*x509.Certificate
	answer  func(*http.Request) (*http.Response, error)
	asked   []time.Time
	objects map[string][]byte
	changed [][]*crl.Verified
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, strings.TrimSpace(string(p)))
	return len(p), nil
}

// taken returns what was logged since the last call.
func (l *lines) taken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.all = nil }()
	return l.all
}

func newBench(t *testing.T, limits Limits, signers ...ca) *bench {
	t.Helper()
	b := &bench{t: t, memory: &memory{kept: map[string]Kept{}}, log: &lines{}, objects: map[string][]byte{}}
	b.trust(signers...)
	b.down()
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	b.build(Config{
		Limits: limits, Network: &outbound.Network{Transport: b}, Now: time.Now, Rand: func() float64 { return 0.5 },
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{ReplaceAttr: noTime})),
	})
	return b
}

// build makes the Feeds from c, which lacks what the bench gives.
func (b *bench) build(c Config) {
	b.t.Helper()
	c.Memory = b.memory
	c.Object = func(_ context.Context, path string) ([]byte, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if value, ok := b.objects[path]; ok {
			return value, nil
		}
		return nil, errors.New("no such object")
	}
	c.Signers = func(context.Context) ([]*x509.Certificate, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.signers, nil
	}
	c.Changed = func(_ context.Context, lists []*crl.Verified) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed = append(b.changed, lists)
	}
	var err error
	if b.Feeds, err = New(c); err != nil {
		b.t.Fatal(err)
	}
}

// RoundTrip is the network.
func (b *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	b.asked = append(b.asked, time.Now())
	answer := b.answer
	b.mu.Unlock()
	response, err := answer(r)
	if response != nil {
		response.Request = r
	}
	return response, err
}

func (b *bench) on(answer func(*http.Request) (*http.Response, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *bench) down() {
	b.on(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
}

func (b *bench) serve(body []byte, header ...string) {
	b.on(func(*http.Request) (*http.Response, error) { return reply(200, body, header...), nil })
}

// reply makes an answer; header is names and values in turn.
func reply(code int, body []byte, header ...string) *http.Response {
	r := &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r
}

func (b *bench) trust(signers ...ca) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.signers = nil
	for _, s := range signers {
		b.signers = append(b.signers, s.Certificate)
	}
}

func (b *bench) put(path string, value []byte) {
	b.mu.Lock()
	b.objects[path] = value
	b.mu.Unlock()
	b.Notify(path)
}

// requests returns how long apart the requests since the last call were.
func (b *bench) requests() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.asked = nil }()
	return b.asked
}

func (b *bench) load(sources ...string) {
	b.t.Helper()
	if err := b.Load(b.t.Context(), sources); err != nil {
		b.t.Fatal(err)
	}
}

// run runs the Feeds until the test ends.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
}

// holds checks the lists that Changed got last, as "CN number".
func (b *bench) holds(want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.changed) == 0 {
		b.t.Fatal("Changed was never called")
	}
	var got []string
	for _, v := range b.changed[len(b.changed)-1] {
		got = append(got, fmt.Sprintf("%s %s", v.Signer().Subject.CommonName, v.Header().Number))
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("Changed got %q last, want %q", got, want)
	}
}

// calls returns how often Changed was called.
func (b *bench) calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.changed)
}

// is checks state and error of the only list or source.
func (b *bench) is(state State, trouble string) {
	b.t.Helper()
	all := b.Status()
	if len(all) != 1 {
		b.t.Fatalf("Status: %+v, want one", all)
	}
	if s := all[0]; s.State != state || !strings.Contains(s.LastError, trouble) || (trouble == "") != (s.LastError == "") {
		b.t.Errorf("state %q, error %q, want %q, %q", s.State, s.LastError, state, trouble)
	}
}

func fileName(t *testing.T) string { return filepath.Join(t.TempDir(), "ca.crl") }

func pemType(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
