package clustercockpit_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"omca/usr/clustercockpit"
)

// golden was made with OpenSSL: the header and the claims that cc-backend writes, in its order, for the user demo with the role api.
const golden = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDcyMDAsImlhdCI6MTcwMDAwMDAwMCwicm9sZXMiOlsiYXBpIl0sInN1YiI6ImRlbW8ifQ." +
	"k4g1q-NaEr6muBzaJoC_i7qrsaLBbmIhsFFUNmueTp2oY2jtc1IjAt67SCj7lV4w6A9-_zOTC52tmQRL6cmxBw"

const issued = 1_700_000_000

func clock(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}

func signer(t *testing.T, seconds int64) *clustercockpit.Signer {
	t.Helper()
	_, private := keys(t)
	s, err := clustercockpit.NewSigner(private, clock(seconds))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t *testing.T, seconds int64) *clustercockpit.Verifier {
	t.Helper()
	public, _ := keys(t)
	v, err := clustercockpit.NewVerifier(public, clock(seconds))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestGolden(t *testing.T) {
	claims := clustercockpit.Claims{
		Subject: "demo", Roles: []clustercockpit.Role{"API", "api"},
		IssuedAt: time.Unix(issued, 0), Expires: time.Unix(issued+7200, 999),
	}
	got, err := signer(t, issued).Sign(claims)
	if err != nil || got != golden {
		t.Errorf("signed %s, %v\nwant   %s", got, err, golden)
	}
	want := clustercockpit.Claims{
		Subject: "demo", Roles: []clustercockpit.Role{clustercockpit.RoleAPI},
		IssuedAt: time.Unix(issued, 0), Expires: time.Unix(issued+7200, 0),
	}
	read, err := verifier(t, issued).Verify(golden)
	if diff := cmp.Diff(want, read); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

// claimsOf is the second part of a token, as text.
func claimsOf(t *testing.T, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSign(t *testing.T) {
	s := signer(t, issued)
	for _, row := range []struct {
		claims clustercockpit.Claims
		want   string
	}{
		{clustercockpit.Claims{Subject: "demo", Roles: []clustercockpit.Role{"admin", "api", "Admin"}}, `{"iat":1699999990,"roles":["admin","api"],"sub":"demo"}`},
		{clustercockpit.Claims{Subject: "demo", Roles: []clustercockpit.Role{"user"}, IssuedAt: time.Unix(issued-86400, 0)}, `{"iat":1699913600,"roles":["user"],"sub":"demo"}`},
	} {
		token, err := s.Sign(row.claims)
		if err != nil {
			t.Fatal(err)
		}
		if got := claimsOf(t, token); got != row.want {
			t.Errorf("%v: %s, want %s", row.claims, got, row.want)
		}
	}
	login := clustercockpit.Claims{
		Subject: "demo", Roles: []clustercockpit.Role{"manager"}, Issuer: "https://portal", Name: "De Mo", Projects: []string{"abcd", "efgh"}, Expires: time.Unix(issued+60, 0),
	}
	token, err := s.SignLogin(login)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"exp":1700000060,"iat":1699999990,"iss":"https://portal","name":"De Mo","projects":["abcd","efgh"],"roles":["manager"],"sub":"demo"}`
	if got := claimsOf(t, token); got != want {
		t.Errorf("cross login: %s, want %s", got, want)
	}
	login.IssuedAt = time.Unix(issued-10, 0)
	read, err := verifier(t, issued).Verify(token)
	if diff := cmp.Diff(login, read); diff != "" || err != nil {
		t.Errorf("cross login: %v, (-want +got):\n%s", err, diff)
	}
}

func TestSignRefuses(t *testing.T) {
	s := signer(t, issued)
	good := clustercockpit.Claims{Subject: "demo", Roles: []clustercockpit.Role{"api"}}
	for name, row := range map[string]struct {
		change func(*clustercockpit.Claims)
		want   string
	}{
		"no subject":       {func(c *clustercockpit.Claims) { c.Subject = "" }, "0 bytes, want 1 to 255"},
		"new line":         {func(c *clustercockpit.Claims) { c.Subject = "demo\nadmin" }, "U+000A"},
		"not UTF-8":        {func(c *clustercockpit.Claims) { c.Subject = "\xff" }, "not UTF-8"},
		"no role":          {func(c *clustercockpit.Claims) { c.Roles = nil }, "there is none"},
		"unknown role":     {func(c *clustercockpit.Claims) { c.Roles = []clustercockpit.Role{"api", "root"} }, `"root"`},
		"anonymous":        {func(c *clustercockpit.Claims) { c.Roles = []clustercockpit.Role{"anonymous"} }, `"anonymous"`},
		"ahead":            {func(c *clustercockpit.Claims) { c.IssuedAt = time.Unix(issued+1, 0) }, "yet to come"},
		"expired":          {func(c *clustercockpit.Claims) { c.Expires = time.Unix(issued, 0) }, "expired at 2023-11-14T22:13:20Z"},
		"issuer":           {func(c *clustercockpit.Claims) { c.Issuer = "https://portal" }, "for a cross login"},
		"full name":        {func(c *clustercockpit.Claims) { c.Name = "De Mo" }, "for a cross login"},
		"projects":         {func(c *clustercockpit.Claims) { c.Projects = []string{"abcd"} }, "for a cross login"},
		"very long":        {func(c *clustercockpit.Claims) { c.Subject = strings.Repeat("x", 256) }, "256 bytes"},
		"invisible letter": {func(c *clustercockpit.Claims) { c.Subject = "demo\u200b" }, "U+200B"},
	} {
		claims := good
		row.change(&claims)
		got, err := s.Sign(claims)
		if got != "" || !errors.Is(err, clustercockpit.ErrInvalid) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, row.want)
		}
	}
	if _, err := s.SignLogin(good); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("cross login without an issuer: %v", err)
	}
	good.Issuer, good.Projects = "https://portal", slices.Repeat([]string{strings.Repeat("x", 255)}, 40)
	if _, err := s.SignLogin(good); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("cross login of 10 kB: %v", err)
	}
	if _, err := clustercockpit.NewSigner(nil, clock(issued)); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("signer without a key: %v", err)
	}
}

// compact signs any header and claims with the golden key.
func compact(t *testing.T, header, claims string) string {
	t.Helper()
	_, private := keys(t)
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(signed)))
}

const plainHeader = `{"alg":"EdDSA","typ":"JWT"}`

// TestVerify is the table of what cc-backend and cc-metric-store do with a token whose signature is good: where they disagree, we refuse.
func TestVerify(t *testing.T) {
	v := verifier(t, issued)
	for _, row := range []struct{ claims, want string }{
		{`{"sub":"demo","roles":["api"],"iat":1700000000}`, ""},
		{`{"sub":"demo","roles":["api"],"iat":1700000000,"exp":1700000001}`, ""},
		{`{"sub":"demo"}`, ""},
		{`{"sub":"demo","roles":[]}`, ""},
		{`{"sub":"demo","roles":["API"]}`, ""}, // the role is for the caller to judge
		{`{"sub":"demo","iss":"anybody","aud":"somebody","jti":"1","more":{"a":[1]}}`, ""},
		{`{"sub":"demo","nbf":1700000000}`, ""},
		{`{"sub":"demo","exp":1700000000.5}`, ""},
		{`{"sub":"demo","name":{"values":["De","Mo"]}}`, ""},
		{`{"roles":["api"]}`, "subject: it has 0 bytes"},
		{`{"sub":""}`, "subject: it has 0 bytes"},
		{`{"sub":null}`, `"sub" is no string`},
		{`{"sub":7}`, `"sub" is no string`},
		{`{"SUB":"demo"}`, "subject: it has 0 bytes"},
		{`{"sub":"demo\u0000"}`, "U+0000"},
		{`{"sub":"demo","sub":"admin"}`, "there twice"},
		{`{"sub":"demo","exp":1700000000}`, "expired at 2023-11-14T22:13:20Z"},
		{`{"sub":"demo","exp":1699999999}`, "expired"},
		{`{"sub":"demo","exp":0}`, "expired"},
		{`{"sub":"demo","exp":"1800000000"}`, `"exp" is no number`},
		{`{"sub":"demo","exp":null}`, `"exp" is no number`},
		{`{"sub":"demo","exp":1e300}`, `"exp" is no number`},
		{`{"sub":"demo","exp":-1}`, `"exp" is no number`},
		{`{"sub":"demo","nbf":1700000001}`, "counts from"},
		{`{"sub":"demo","nbf":"1600000000"}`, `"nbf" is no number`},
		{`{"sub":"demo","iat":1700000001}`, "yet to come"}, // cc-backend takes it, cc-metric-store does not
		{`{"sub":"demo","roles":"api"}`, `"roles" is no list`},
		{`{"sub":"demo","roles":["api",null]}`, `"roles" is no list`},
		{`{"sub":"demo","roles":[["api"]]}`, `"roles" is no list`},
		{`["demo"]`, "no JSON object"},
		{`{"sub":"demo"`, "ends early"},
		{`{"sub":"demo"}{}`, "goes on"},
		{"{\"sub\":\"\xff\"}", "not UTF-8"},
		{`null`, "no JSON object"},
	} {
		c, err := v.Verify(compact(t, plainHeader, row.claims))
		switch {
		case row.want == "" && (err != nil || c.Subject != "demo"):
			t.Errorf("%s: %v, %v, want it accepted", row.claims, c, err)
		case row.want != "" && (!errors.Is(err, clustercockpit.ErrRefused) || !strings.Contains(err.Error(), row.want) || c.Subject != ""):
			t.Errorf("%s: %v, %v, want %q", row.claims, c, err, row.want)
		}
	}
}

func TestVerifyHeader(t *testing.T) {
	v := verifier(t, issued)
	for _, row := range []struct{ header, want string }{
		{`{"alg":"EdDSA"}`, ""},
		{`{"typ":"JWT","alg":"EdDSA","kid":"../../etc/passwd","jku":"http://127.0.0.1/"}`, ""}, // looked at by nobody
		{`{"alg":"none"}`, `alg is "none"`},
		{`{"alg":"eddsa"}`, `alg is "eddsa"`},
		{`{"ALG":"EdDSA"}`, `alg is ""`},
		{`{"alg":"Ed25519"}`, `alg is "Ed25519"`},
		{`{"alg":"HS256"}`, `alg is "HS256"`},
		{`{"alg":["EdDSA"]}`, "no string"},
		{`{"alg":"none","alg":"EdDSA"}`, "there twice"},
		{`{"alg":"EdDSA","crit":["b64"],"b64":false}`, "critical"},
		{`{"alg":"EdDSA","crit":[]}`, "critical"},
		{`{}`, `alg is ""`},
		{``, "no JSON object"},
	} {
		_, err := v.Verify(compact(t, row.header, `{"sub":"demo","roles":["api"]}`))
		if row.want == "" && err != nil || row.want != "" && (!errors.Is(err, clustercockpit.ErrRefused) || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.header, err, row.want)
		}
	}
}

func TestVerifyForged(t *testing.T) {
	public, _ := keys(t)
	parts := strings.Split(golden, ".")
	mac := hmac.New(sha256.New, public)
	hs := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + parts[1]
	fmt.Fprint(mac, hs)
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := parts[0] + "." + parts[1]
	// The order of the group added to S: the same point, other bytes (RFC 8032, 8.4).
	malleable := addOrder(t, parts[2])
	for name, token := range map[string]string{
		"empty":                   "",
		"dots":                    "..",
		"another key":             signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(stranger, []byte(signed))),
		"HS256 by the public key": hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"no signature":            signed + ".",
		"two parts":               signed,
		"four parts":              golden + ".",
		"none":                    base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"other claims":            parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","roles":["admin"]}`)) + "." + parts[2],
		"padding":                 golden + "==",
		"new line":                golden[:200] + "\n" + golden[200:],
		"space":                   " " + golden,
		"loose bits":              golden[:len(golden)-1] + "x",
		"other S":                 signed + "." + malleable,
		"long signature":          golden + "AAAA",
		"1 MB":                    strings.Repeat("A", 1<<20) + golden,
		"a million dots":          strings.Repeat(".", 1<<20),
		"JSON form":               `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		c, err := verifier(t, issued).Verify(token)
		if !errors.Is(err, clustercockpit.ErrRefused) || c.Subject != "" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	if _, err := clustercockpit.NewVerifier(make([]byte, 32), clock(issued)); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("verifier with the zero key: %v", err)
	}
	if _, err := clustercockpit.NewVerifier(public, nil); !errors.Is(err, clustercockpit.ErrInvalid) {
		t.Errorf("verifier without a clock: %v", err)
	}
}

// addOrder adds the order of the group, 2^252 + 27742317777372353535851937790883648493, to the S of a signature.
func addOrder(t *testing.T, signature string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	order := []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10}
	carry := 0
	for i, o := range order {
		sum := int(raw[32+i]) + int(o) + carry
		raw[32+i], carry = byte(sum), sum>>8
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func TestRoles(t *testing.T) {
	for _, row := range []struct {
		names        string
		want         string
		api, userapi bool
	}{
		{"api", "api", true, true},
		{"API Api", "api", true, true},
		{"user", "user", false, false},
		{"admin", "admin", false, false},
		{"user api", "user api", false, true},
		{"admin api", "admin api", true, true},
		{"Admin Api USER", "admin api user", true, true},
		{"manager support", "manager support", false, false},
		{"support api", "support api", false, true},
	} {
		roles, err := clustercockpit.ParseRoles(strings.Fields(row.names))
		if got := strings.Trim(fmt.Sprint(roles), "[]"); err != nil || got != row.want {
			t.Errorf("%s: %s, %v, want %s", row.names, got, err, row.want)
		}
		if got := clustercockpit.OpensAPI(roles); got != row.api {
			t.Errorf("%s: /api/ is open: %t, want %t", row.names, got, row.api)
		}
		if got := clustercockpit.OpensUserAPI(roles); got != row.userapi {
			t.Errorf("%s: /userapi/ is open: %t, want %t", row.names, got, row.userapi)
		}
	}
	for _, names := range []string{"", "root", "api anonymous", "ap\u0131", "\u212aapi"} {
		if roles, err := clustercockpit.ParseRoles(strings.Fields(names)); !errors.Is(err, clustercockpit.ErrInvalid) {
			t.Errorf("%q: %v, %v", names, roles, err)
		}
	}
}

func TestID(t *testing.T) {
	if got := clustercockpit.ID(golden); got != "d6f7226e04b70edddf629c3c2752b85b" {
		t.Errorf("id %s", got)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(golden, `{"sub":"demo","roles":["api"],"name":{"values":["a"]},"exp":1800000000}`)
	f.Add("..", `{"sub":{"a":1}}`)
	f.Fuzz(func(t *testing.T, token, claims string) {
		v := verifier(t, issued)
		if c, err := v.Verify(token); err == nil && token != golden {
			t.Fatalf("%q is accepted as %v", token, c)
		}
		// The claims behind a good signature are parsed too.
		c, err := v.Verify(compact(t, plainHeader, claims))
		if (err == nil) != (c.Subject != "") || err != nil && !errors.Is(err, clustercockpit.ErrRefused) {
			t.Fatalf("%q: %v, %v", claims, c, err)
		}
	})
}

// TestStranger: what another implementation of JOSE signs is accepted, and the other way round.
func TestStranger(t *testing.T) {
	public, private := keys(t)
	theirs, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := theirs.Sign([]byte(`{"iat":1699999990,"roles":["api"],"sub":"demo"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := signer(t, issued).Sign(clustercockpit.Claims{Subject: "demo", Roles: []clustercockpit.Role{clustercockpit.RoleAPI}})
	if err != nil || ours != text {
		t.Errorf("ours %s, %v\ntheirs %s", ours, err, text)
	}
	if c, err := verifier(t, issued).Verify(text); err != nil || c.Subject != "demo" {
		t.Errorf("theirs: %v, %v", c, err)
	}
	parsed, err := jose.ParseSignedCompact(ours, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Verify(public); err != nil {
		t.Errorf("ours: %v", err)
	}
}
