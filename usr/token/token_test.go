package token_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"omca/usr"
	"omca/usr/token"
)

// memory is a Store that a test looks into.
type memory struct {
	keys     []byte
	revision int64
	records  map[string]token.Record
	fails    error
	late     []byte // keys that somebody else makes first
	unread   error  // of Recorded
	answered func() // called once, when a question about a record or a revocation was answered
}

// answer is what a question about a token comes to.
func (m *memory) answer(yes bool) bool {
	if answered := m.answered; answered != nil {
		m.answered = nil
		answered()
	}
	return yes
}

var errConflict = errors.New("changed meanwhile")

func (m *memory) LoadKeys(context.Context) ([]byte, int64, error) { return m.keys, m.revision, m.fails }

func (m *memory) SaveKeys(_ context.Context, revision int64, text []byte) error {
	if m.late != nil {
		m.keys, m.late, m.revision = m.late, nil, m.revision+1
	}
	if revision != m.revision {
		return errConflict
	}
	m.keys, m.revision = text, revision+1
	return nil
}

func (m *memory) Conflict(err error) bool { return errors.Is(err, errConflict) }

func (m *memory) RecordToken(_ context.Context, r token.Record) error {
	if m.fails == nil {
		m.records[r.ID] = r
	}
	return m.fails
}

func (m *memory) CountTokens(_ context.Context, subject string, now time.Time, _ int) (n token.Count, _ error) {
	for _, r := range m.records {
		if r.Subject == subject && (r.ExpiresAt.IsZero() || now.Before(r.ExpiresAt)) {
			if n.Recorded++; r.RevokedAt.IsZero() {
				n.Living++
			}
		}
	}
	return n, m.fails
}

func (m *memory) Token(_ context.Context, id string) (token.Record, error) {
	r, ok := m.records[id]
	if !ok {
		return r, errors.New("not found")
	}
	return r, nil
}

func (m *memory) Tokens(_ context.Context, q token.Query) iter.Seq2[token.Listed, error] {
	return func(yield func(token.Listed, error) bool) {
		for _, r := range m.records {
			if (q.Subject == "" || q.Subject == r.Subject) && !yield(token.Listed{Record: r, Cursor: r.ID}, nil) {
				return
			}
		}
	}
}

func (m *memory) RevokeTokens(_ context.Context, records []token.Record, by string, at time.Time) error {
	for _, r := range records {
		r.RevokedAt, r.RevokedBy = at, by
		m.records[r.ID] = r
	}
	return m.fails
}

func (m *memory) Recorded(_ context.Context, id string) (bool, error) {
	_, ok := m.records[id]
	return m.answer(ok), m.unread
}

func (m *memory) Revoked(id string) bool { return m.answer(!m.records[id].RevokedAt.IsZero()) }

func (m *memory) SweepTokens(_ context.Context, before time.Time, limit int) (int, error) {
	n := 0
	for id, r := range m.records {
		if n < limit && !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(before) {
			delete(m.records, id)
			n++
		}
	}
	return n, nil
}

// bench is a service with a clock that the test sets.
type bench struct {
	*token.Service
	store    *memory
	now      time.Time
	settings token.Settings
}

// kidless has the form of a token that names no key.
func kidless(subject string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte("{}")) + "." + encode([]byte(`{"sub":"`+subject+`"}`)) + "."
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{
		store: &memory{records: make(map[string]token.Record)}, now: time.Date(2026, 11, 22, 12, 0, 0, 500, time.UTC),
		settings: token.Settings{Audience: "omca:x"},
	}
	var err error
	b.Service, err = token.New(token.Config{
		Store: b.store, Now: func() time.Time { return b.now }, Settings: func(context.Context) (token.Settings, error) { return b.settings, nil },
		Profiles: map[string]token.Profile{"plain": {Sign: func(_ context.Context, c token.Claims) (string, error) {
			return fmt.Sprintf("plain %s %v %s", c.Subject, c.Roles, c.ExpiresAt), nil
		}}, "kidless": {
			Sign: func(_ context.Context, c token.Claims) (string, error) { return kidless(c.Subject), nil },
			Verify: func(context.Context, string) (token.Claims, error) {
				return token.Claims{Subject: "alice", ExpiresAt: b.now.Add(time.Hour)}, nil
			},
		}},
	})
	if err == nil {
		err = b.Init(t.Context(), "https://node1:1215")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) issue(t testing.TB, r token.Request) token.Issued {
	t.Helper()
	if r.Subject == "" {
		r.Subject = "alice"
	}
	if r.Use == "" {
		r.Use = token.Access
	}
	issued, err := b.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// TestLifetime: what is asked for beyond the bounds is cut to them, and nobody gets less than a second.
func TestLifetime(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		use         token.Use
		asked, most time.Duration
		want        time.Duration
	}{
		{token.Access, 0, 0, 10 * time.Minute},
		{token.Access, time.Hour, 0, time.Hour},
		{token.Access, 25 * time.Hour, 0, 24 * time.Hour},
		{token.Access, time.Millisecond, 0, time.Second},
		{token.Access, time.Hour, time.Minute, time.Minute},
		{token.Access, 0, time.Minute, time.Minute},
		{token.Refresh, 0, 0, 24 * time.Hour},
		{token.Refresh, 31 * 24 * time.Hour, 0, 30 * 24 * time.Hour},
		{token.Refresh, 10 * 24 * time.Hour, 48 * time.Hour, 48 * time.Hour},
	} {
		b.settings.MaxAge = tt.most
		issued := b.issue(t, token.Request{Use: tt.use, Lifetime: tt.asked})
		// Whole seconds, and up.
		if got := issued.ExpiresAt.Sub(issued.IssuedAt); got != tt.want+time.Second || issued.IssuedAt.After(b.now) {
			t.Errorf("%s of %s, at most %s: lives %s, want %s and a second", tt.use, tt.asked, tt.most, got, tt.want)
		}
	}
}

// TestVerify goes over the times of one token.
func TestVerify(t *testing.T) {
	b := newBench(t)
	issued := b.issue(t, token.Request{Lifetime: time.Minute})
	begin := b.now
	for _, tt := range []struct {
		after time.Duration
		why   string
	}{
		{-31 * time.Second, "iat"}, {-29 * time.Second, ""}, {0, ""}, {59 * time.Second, ""}, {61 * time.Second, "expired"}, {24 * time.Hour, "expired"},
	} {
		b.now = begin.Add(tt.after)
		_, err := b.Verify(t.Context(), issued.Token, token.Access)
		switch {
		case tt.why == "" && err != nil:
			t.Errorf("after %s: %v", tt.after, err)
		case tt.why != "" && (!errors.Is(err, usr.ErrUnauthenticated) || !strings.Contains(err.Error(), tt.why)):
			t.Errorf("after %s: %v, want ErrUnauthenticated for %q", tt.after, err, tt.why)
		}
	}
	b.now = begin
	if _, err := b.Verify(t.Context(), issued.Token, token.Refresh); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("an access token as a refresh token: %v", err)
	}
	if _, err := b.Revoke(t.Context(), issued.ID, usr.Caller{Name: "bob"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("revoked: %v", err)
	}
	if r, err := b.Revoke(t.Context(), issued.ID, usr.Caller{Name: "eve"}); err != nil || r.RevokedBy != "bob" {
		t.Errorf("revoked again: by %q, %v", r.RevokedBy, err)
	}
}

// TestIssuers: setting the keyword ends nothing; changing it ends what carries the former.
func TestIssuers(t *testing.T) {
	b := newBench(t)
	first := b.issue(t, token.Request{}).Token
	b.settings.Issuer = "https://vip:1215"
	second := b.issue(t, token.Request{}).Token
	for name, compact := range map[string]string{"of the first start": first, "of the keyword": second} {
		if _, err := b.Verify(t.Context(), compact, token.Access); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.settings.Issuer = "https://other:1215"
	if _, err := b.Verify(t.Context(), second, token.Access); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("of a former keyword: %v", err)
	}
	b.settings = token.Settings{Audience: "omca:y"}
	if _, err := b.Verify(t.Context(), first, token.Access); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("of a cluster with another id: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	b := newBench(t)
	many, err := usr.ParseGrants(strings.TrimSpace(strings.Repeat("admin:namespace-one ", 800)))
	if err != nil {
		t.Fatal(err)
	}
	long := make([]string, 400)
	for i := range long {
		long[i] = strings.Repeat("r", 40)
	}
	for name, r := range map[string]token.Request{
		"no subject":      {Use: token.Access},
		"no use":          {Subject: "alice"},
		"another use":     {Subject: "alice", Use: "proxy"},
		"another profile": {Subject: "alice", Profile: "nosuch"},
		"too much in it":  {Subject: "alice", Use: token.Access, Grants: many, Roles: long},
	} {
		if issued, err := b.Issue(t.Context(), r); !errors.Is(err, usr.ErrInvalid) || issued.Token != "" {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if len(b.store.records) != 0 {
		t.Errorf("%d records of tokens that nobody got", len(b.store.records))
	}
	b.store.fails = errors.New("disk full")
	if issued, err := b.Issue(t.Context(), token.Request{Subject: "alice", Use: token.Access}); err == nil || issued.Token != "" {
		t.Error("a token without a record")
	}
	if _, err := token.New(token.Config{}); err == nil {
		t.Error("New with nothing")
	}
}

// No key is no accepted token, and it is no fault of the caller's.
func TestNoKeys(t *testing.T) {
	b := newBench(t)
	compact := b.issue(t, token.Request{}).Token
	kept := b.store.keys
	for name, keys := range map[string][]byte{"gone": nil, "damaged": []byte(`{"version":1}`), "of a later version": []byte(`{"version":2}`), "garbage": []byte("x")} {
		b.store.keys = keys
		if err := b.Changed(t.Context()); err == nil {
			t.Errorf("%s: read", name)
		}
		if _, err := b.Verify(t.Context(), compact, token.Access); err == nil || errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("%s: %v, want a failure", name, err)
		}
	}
	b.store.keys = kept
	if _, err := b.Verify(t.Context(), compact, token.Access); err != nil {
		t.Errorf("back again: %v", err)
	}
}

// Two nodes that start at once have the same keys.
func TestInitRace(t *testing.T) {
	first := newBench(t)
	m := &memory{records: first.store.records, late: first.store.keys}
	s, err := token.New(token.Config{
		Store: m, Now: func() time.Time { return first.now }, Settings: func(context.Context) (token.Settings, error) { return first.settings, nil },
	})
	if err == nil {
		err = s.Init(t.Context(), "https://node2:1215")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(t.Context(), first.issue(t, token.Request{}).Token, token.Access); err != nil {
		t.Errorf("the second one has other keys: %v", err)
	}
}

func TestOtherProfile(t *testing.T) {
	b := newBench(t)
	issued := b.issue(t, token.Request{Profile: "plain", Roles: []string{"api"}, Grants: usr.RootGrants()})
	if issued.ID != token.IDOf(issued.Token) || len(issued.ID) != 32 || issued.Grant != "" || !issued.ExpiresAt.IsZero() || issued.Profile != "plain" {
		t.Errorf("%+v", issued)
	}
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("a profile that is for others proves a name here: %v", err)
	}
	if n, err := b.RevokeSubject(t.Context(), "alice", usr.Caller{Name: "root"}); n != 1 || err != nil {
		t.Errorf("revoked %d, %v: what never expires lives", n, err)
	}
	b.issue(t, token.Request{})
	b.now = b.now.Add(25 * time.Hour)
	if n, err := b.Sweep(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

func TestKeySet(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	k, err := token.NewKeySet("https://node1", now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := token.ParseKeySet(text)
	if err != nil || read.Current().ID != k.Current().ID || read.Issuer() != "https://node1" {
		t.Fatalf("read back: %v, %v", read, err)
	}
	var stored struct {
		Seed []byte `json:"seed"`
	}
	if err := json.Unmarshal(text, &stored); err != nil || len(stored.Seed) != ed25519.SeedSize {
		t.Fatal(err)
	}
	// No verb prints what must not be seen.
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, secret := range []string{base64.StdEncoding.EncodeToString(stored.Seed), fmt.Sprintf("%x", stored.Seed), fmt.Sprint(stored.Seed)} {
			if out := fmt.Sprintf(verb, k); strings.Contains(out, secret) {
				t.Errorf("%s prints the seed", verb)
			}
		}
	}
	jwks, err := k.JWKS(now)
	if err != nil || bytes.Contains(jwks, []byte(`"d"`)) || !bytes.Contains(jwks, []byte(`"kid":"`+k.Current().ID+`"`)) {
		t.Errorf("JWKS %s, %v", jwks, err)
	}
	// RFC 8037, appendix A.3, has the thumbprint of this key.
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := token.KeyID(public); id != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" || err != nil {
		t.Errorf("thumbprint %s, %v", id, err)
	}
	for name, spoil := range map[string]func(map[string]any){
		"another seed": func(m map[string]any) { m["seed"] = make([]byte, 32) },
		"a short seed": func(m map[string]any) { m["seed"] = []byte("x") },
		"no keys":      func(m map[string]any) { m["keys"] = []any{} },
		"a key twice":  func(m map[string]any) { m["keys"] = append(m["keys"].([]any), m["keys"].([]any)[0]) },
	} {
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		spoil(m)
		bad, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.ParseKeySet(bad); err == nil || bytes.Contains([]byte(err.Error()), stored.Seed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := token.ParseKeySet(bytes.Repeat([]byte(" "), 1<<20)); err == nil {
		t.Error("a set of 1 MB is read")
	}
}

// FuzzOpen: nothing that is not exactly what was signed is opened, and nothing makes it fall over.
func FuzzOpen(f *testing.F) {
	b := newBench(f)
	good := b.issue(f, token.Request{Grants: usr.RootGrants()}).Token
	f.Add(good)
	f.Add(good + "=")
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("")
	keys, err := b.Keys(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, compact string) {
		token.Peek(compact)
		if _, err := keys.Open(compact, b.now); (err == nil) != (compact == good) {
			t.Errorf("%q: %v", compact, err)
		} else if err != nil && !errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("error is %v", err)
		}
	})
}

// What was verified before is refused once its key is gone, whoever remembers it.
func TestCheckAsksForTheKey(t *testing.T) {
	b := newBench(t)
	claims, err := b.Verify(t.Context(), b.issue(t, token.Request{}).Token, token.Access)
	if err != nil {
		t.Fatal(err)
	}
	for _, overlap := range []bool{true, false} {
		if _, err := b.Rotate(t.Context(), overlap); err != nil {
			t.Fatal(err)
		}
		if err := b.Changed(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(t.Context(), &claims, token.Access); (err == nil) != overlap {
			t.Errorf("with overlap %v: %v", overlap, err)
		}
	}
}

// TestSweptIsDead: a token whose record was swept under a clock that was ahead is refused when the clock is back, revoked or not,
// also when its signature was found good before.
func TestSweptIsDead(t *testing.T) {
	for name, r := range map[string]token.Request{
		"access":              {Use: token.Access},
		"refresh":             {Use: token.Refresh},
		"of the machine's":    {Use: token.Access, Subject: "root", Socket: true, Grants: usr.RootGrants()},
		"that grants joins":   {Use: token.Access, Grants: joins(t)},
		"for other services":  {Use: token.Access, Profile: "kidless", Lifetime: time.Hour},
		"for a longer time":   {Use: token.Access, Lifetime: token.LongestAccess},
		"refresh, for a week": {Use: token.Refresh, Lifetime: 7 * 24 * time.Hour},
	} {
		for _, revoked := range []bool{false, true} {
			b := newBench(t)
			issued := b.issue(t, r)
			claims, err := b.Verify(t.Context(), issued.Token, r.Use)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if revoked {
				if _, err := b.Revoke(t.Context(), issued.ID, usr.Caller{Name: "root"}); err != nil {
					t.Fatal(err)
				}
			}
			begin := b.now
			b.now = issued.ExpiresAt.Add(25 * time.Hour)
			if n, err := b.Sweep(t.Context(), 10); n != 1 || err != nil {
				t.Fatalf("%s: swept %d, %v", name, n, err)
			}
			b.now = begin
			if _, err := b.Verify(t.Context(), issued.Token, r.Use); !errors.Is(err, usr.ErrUnauthenticated) {
				t.Errorf("%s, revoked %v: %v, want it refused when the clock is back", name, revoked, err)
			}
			if err := b.Check(t.Context(), &claims, r.Use); !errors.Is(err, usr.ErrUnauthenticated) || !strings.Contains(err.Error(), "not on record") {
				t.Errorf("%s, revoked %v, remembered: %v, want it refused", name, revoked, err)
			}
		}
	}
}

func joins(t *testing.T) usr.Grants {
	t.Helper()
	grants, err := usr.ParseGrants("join")
	if err != nil {
		t.Fatal(err)
	}
	return grants
}

// TestSweptBetweenTheQuestions: a sweep that falls between the two questions about a token does not make a revoked one good.
func TestSweptBetweenTheQuestions(t *testing.T) {
	b := newBench(t)
	issued := b.issue(t, token.Request{})
	if _, err := b.Revoke(t.Context(), issued.ID, usr.Caller{Name: "root"}); err != nil {
		t.Fatal(err)
	}
	b.store.answered = func() { delete(b.store.records, issued.ID) }
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("%v, want it refused", err)
	}
}

// TestRecordNotRead: no token counts while its record cannot be looked for, and that is no fault of the caller's.
func TestRecordNotRead(t *testing.T) {
	b := newBench(t)
	issued := b.issue(t, token.Request{})
	b.store.unread = errors.New("disk failed")
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); !errors.Is(err, b.store.unread) || errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("%v, want the store's failure", err)
	}
}

// TestRecordOfAnotherNode: a token that another node has just issued counts here at once. When this node cannot find out whether
// there is one, it says so.
func TestRecordOfAnotherNode(t *testing.T) {
	b := newBench(t)
	issued := b.issue(t, token.Request{})
	elsewhere := b.store.records
	b.store.records = make(map[string]token.Record)
	asked, away := 0, errors.New("the store is away")
	b.Latest = func(context.Context) error {
		asked++
		return away
	}
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); !errors.Is(err, away) || errors.Is(err, usr.ErrUnauthenticated) || asked != 1 {
		t.Errorf("with the store away: %v, asked %d times", err, asked)
	}
	b.Latest = func(context.Context) error {
		asked++
		return nil
	}
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); !errors.Is(err, usr.ErrUnauthenticated) || asked != 2 {
		t.Errorf("on no node: %v, asked %d times", err, asked)
	}
	b.Latest = func(context.Context) error {
		b.store.records = elsewhere
		return nil
	}
	if _, err := b.Verify(t.Context(), issued.Token, token.Access); err != nil {
		t.Errorf("on another node: %v", err)
	}
	if asked != 2 {
		t.Error("asked although the record is here")
	}
}

// TestRevokedByAClockAhead: what is taken back while the clock is ahead stays so when the clock is back, though it had "expired".
func TestRevokedByAClockAhead(t *testing.T) {
	b := newBench(t)
	issued, begin := b.issue(t, token.Request{}), b.now
	b.now = issued.ExpiresAt.Add(time.Hour)
	late := b.issue(t, token.Request{})
	if n, err := b.RevokeSubject(t.Context(), "alice", usr.Caller{Name: "root"}); n != 1 || err != nil {
		t.Errorf("revoked %d that live, %v, want 1", n, err)
	}
	b.now = begin
	for _, compact := range []string{issued.Token, late.Token} {
		if _, err := b.Verify(t.Context(), compact, token.Access); !errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("%v, want it refused", err)
		}
	}
}
