package omca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca"
	"omca/internal/wire"
)

// logged is a log that tests read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since the last time.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// bearers is a daemon whose clock and log are the test's, and somebody who calls it with tokens.
type bearers struct {
	*running
	t     *testing.T
	log   *logged
	ahead atomic.Int64 // of the clock, in nanoseconds
	http  *http.Client
}

func newBearers(t *testing.T) *bearers {
	t.Helper()
	return newBearersAt(t, "")
}

// newBearersAt has a home that is there already.
func newBearersAt(t *testing.T, home string) *bearers {
	t.Helper()
	b := &bearers{t: t, log: new(logged)}
	b.running = runServer(t, omca.Config{
		Home: home,
		Now:  func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) },
		Log:  slog.New(slog.NewJSONHandler(b.log, nil)),
	})
	b.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.pool, ServerName: "localhost"}}}
	t.Cleanup(b.http.CloseIdleConnections)
	return b
}

// user makes a user, or gives the one that is there these keywords.
func (b *bearers) user(name string, keywords ...string) {
	b.t.Helper()
	local(b.t, b.Server, "POST", "/api/object/path/system/usr/"+name, map[string]any{"keywords": keywords})
}

// issue gets a token from the socket, as root.
func (b *bearers) issue(query string) wire.TokenPair {
	b.t.Helper()
	var pair wire.TokenPair
	if err := json.Unmarshal(local(b.t, b.Server, "POST", "/api/auth/token?"+query, nil), &pair); err != nil {
		b.t.Fatal(err)
	}
	return pair
}

// send calls with the given Authorization lines. Its request id is always the same, so that answers can be compared.
func (b *bearers) send(method, path string, authorization ...string) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.address+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header["Authorization"] = authorization
	r.Header.Set("X-Request-Id", "same")
	answer, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func (b *bearers) whoami(compact string) (int, string) {
	b.t.Helper()
	return b.send("GET", "/whoami", "Bearer "+compact)
}

// forger has what signs the tokens of a cluster, and bad intentions.
type forger struct {
	key    ed25519.PrivateKey
	header map[string]any
	claims map[string]any
}

// forge reads the key out of the store, as root may, and a token of the user alice to begin with.
func (b *bearers) forge() *forger {
	b.t.Helper()
	var stored struct {
		Seed []byte `json:"seed"`
	}
	if err := json.Unmarshal(local(b.t, b.Server, "GET", "/api/object/path/system/sec/jwt/data/key?name=keys", nil), &stored); err != nil {
		b.t.Fatal(err)
	}
	f := &forger{key: ed25519.NewKeyFromSeed(stored.Seed)}
	parts := strings.Split(b.issue("subject=alice").AccessToken, ".")
	for i, into := range []*map[string]any{&f.header, &f.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			d := json.NewDecoder(bytes.NewReader(text))
			d.UseNumber()
			err = d.Decode(into)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return f
}

func encode(part []byte) string { return base64.RawURLEncoding.EncodeToString(part) }

func (f *forger) sign(header, payload []byte) string {
	input := encode(header) + "." + encode(payload)
	return input + "." + encode(ed25519.Sign(f.key, []byte(input)))
}

// with is a copy of a map in which some words are others; nil takes one away.
func with(of map[string]any, change map[string]any) []byte {
	next := maps.Clone(of)
	for word, value := range change {
		if value == nil {
			delete(next, word)
		} else {
			next[word] = value
		}
	}
	text, err := json.Marshal(next)
	if err != nil {
		return nil
	}
	return text
}

// claiming is a token, properly signed, with other claims.
func (f *forger) claiming(change map[string]any) string {
	return f.sign(with(f.header, nil), with(f.claims, change))
}

// heading is one with another header.
func (f *forger) heading(change map[string]any) string {
	return f.sign(with(f.header, change), with(f.claims, nil))
}

// by is one signed in another way.
func (f *forger) by(alg string, sign func(input []byte) []byte) string {
	input := encode(with(f.header, map[string]any{"alg": alg})) + "." + encode(with(f.claims, nil))
	return input + "." + encode(sign([]byte(input)))
}

// confused are tokens that would have the key taken for one of another kind, or for none.
func (f *forger) confused(t *testing.T) map[string][2]string {
	t.Helper()
	digest := func(input []byte) []byte { sum := sha256.Sum256(input); return sum[:] }
	public := f.key.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(secret []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write(input)
			return m.Sum(nil)
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := func(key crypto.Signer, opts crypto.SignerOpts) func([]byte) []byte {
		return func(input []byte) []byte {
			signature, err := key.Sign(rand.Reader, digest(input), opts)
			if err != nil {
				t.Fatal(err)
			}
			return signature
		}
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	none := func([]byte) []byte { return nil }
	return map[string][2]string{
		"alg none":                      {f.by("none", none), `alg is \"none\"`},
		"alg None":                      {f.by("None", none), `alg is \"None\"`},
		"no alg":                        {f.heading(map[string]any{"alg": nil}), `alg is \"\"`},
		"alg empty, no signature":       {f.by("", none), "alg is"},
		"EdDSA without a signature":     {f.by("EdDSA", none), "signature"},
		"HS256 with the public key":     {f.by("HS256", mac(public)), `alg is \"HS256\"`},
		"HS256 with its PEM":            {f.by("HS256", mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))), `alg is \"HS256\"`},
		"HS256 with its base64":         {f.by("HS256", mac([]byte(encode(public)))), `alg is \"HS256\"`},
		"RS256":                         {f.by("RS256", signer(rsaKey, crypto.SHA256)), `alg is \"RS256\"`},
		"PS256":                         {f.by("PS256", signer(rsaKey, &rsa.PSSOptions{Hash: crypto.SHA256})), `alg is \"PS256\"`},
		"ES256":                         {f.by("ES256", signer(ecKey, crypto.SHA256)), `alg is \"ES256\"`},
		"Ed25519, the name of RFC 9864": {f.by("Ed25519", func(input []byte) []byte { return ed25519.Sign(f.key, input) }), `alg is \"Ed25519\"`},
		"eddsa":                         {f.by("eddsa", func(input []byte) []byte { return ed25519.Sign(f.key, input) }), `alg is \"eddsa\"`},
		"another Ed25519 key":           {f.by("EdDSA", func(input []byte) []byte { return ed25519.Sign(other, input) }), "not that of key"},
	}
}

// misheaded are tokens whose header says what it has no business to say.
func (f *forger) misheaded() map[string][2]string {
	public := f.key.Public().(ed25519.PublicKey)
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(public)}
	const alien = "has no business there"
	return map[string][2]string{
		"kid a path":          {f.heading(map[string]any{"kid": "../../../../dev/null"}), "none of this cluster"},
		"kid a query":         {f.heading(map[string]any{"kid": "x' UNION SELECT 'secret"}), "none of this cluster"},
		"kid of 10 kB":        {f.heading(map[string]any{"kid": strings.Repeat("k", 10_000)}), "none of this cluster"},
		"kid empty":           {f.heading(map[string]any{"kid": ""}), "token"},
		"kid with a NUL":      {f.heading(map[string]any{"kid": f.header["kid"].(string) + "\x00"}), "none of this cluster"},
		"kid a list":          {f.heading(map[string]any{"kid": []any{f.header["kid"]}}), "header"},
		"no kid":              {f.heading(map[string]any{"kid": nil}), "token"},
		"typ of another kind": {f.heading(map[string]any{"typ": "secevent+jwt"}), "typ is"},
		"no typ":              {f.heading(map[string]any{"typ": nil}), "typ is"},
		"jwk":                 {f.heading(map[string]any{"jwk": jwk}), alien},
		"jku":                 {f.heading(map[string]any{"jku": "https://evil.example.org/keys"}), alien},
		"x5u":                 {f.heading(map[string]any{"x5u": "https://evil.example.org/cert"}), alien},
		"x5c":                 {f.heading(map[string]any{"x5c": []string{"MIIB"}}), alien},
		"crit":                {f.heading(map[string]any{"crit": []string{"exp"}, "exp": 1}), alien},
		"crit b64":            {f.heading(map[string]any{"crit": []string{"b64"}, "b64": false}), alien},
		"zip":                 {f.heading(map[string]any{"zip": "DEF"}), alien},
		"Alg beside alg":      {f.heading(map[string]any{"Alg": "none"}), alien},
		"alg twice": {
			f.sign([]byte(fmt.Sprintf(`{"alg":"none","alg":"EdDSA","kid":%q,"typ":"JWT"}`, f.header["kid"])), with(f.claims, nil)), "duplicate key"},
		"a header that goes on": {f.sign(append(with(f.header, nil), "{}"...), with(f.claims, nil)), "header"},
		"a header that is none": {f.sign([]byte(`"EdDSA"`), with(f.claims, nil)), "header"},
	}
}

// misclaimed are tokens with a good signature that claim what they must not.
func (f *forger) misclaimed() map[string][2]string {
	now := time.Now().Unix()
	aud := f.claims["aud"].([]any)[0].(string)
	claim := func(change map[string]any) string { return f.claiming(change) }
	raw := func(text string) string { return f.sign(with(f.header, nil), []byte(text)) }
	whole := strings.TrimSuffix(string(with(f.claims, nil)), "}")
	return map[string][2]string{
		"aud another":            {claim(map[string]any{"aud": "omca:another"}), "aud is"},
		"aud a list of others":   {claim(map[string]any{"aud": []string{"a", "b"}}), "aud is"},
		"aud begins like it":     {claim(map[string]any{"aud": aud + "x"}), "aud is"},
		"aud missing":            {claim(map[string]any{"aud": nil}), "claim aud is missing"},
		"aud an empty list":      {claim(map[string]any{"aud": []string{}}), "claim aud is missing"},
		"aud a number":           {claim(map[string]any{"aud": 7}), "aud"},
		"iss another":            {claim(map[string]any{"iss": "https://evil.example.org"}), "iss is"},
		"iss missing":            {claim(map[string]any{"iss": nil}), "claim iss is missing"},
		"iss a longer one":       {claim(map[string]any{"iss": f.claims["iss"].(string) + "/"}), "iss is"},
		"nbf to come":            {claim(map[string]any{"nbf": now + 120}), "nbf"},
		"nbf missing":            {claim(map[string]any{"nbf": nil}), "claim nbf is missing"},
		"iat to come":            {claim(map[string]any{"iat": now + 120}), "iat"},
		"iat missing":            {claim(map[string]any{"iat": nil}), "claim iat is missing"},
		"exp missing":            {claim(map[string]any{"exp": nil}), "claim exp is missing"},
		"exp a string":           {claim(map[string]any{"exp": fmt.Sprint(now + 600)}), "cannot unmarshal string"},
		"exp null":               {raw(whole + `,"exp":null}`), "duplicate key"},
		"exp a fraction":         {claim(map[string]any{"exp": float64(now) + 600.5}), "cannot unmarshal number"},
		"exp beyond all numbers": {claim(map[string]any{"exp": json.Number("1e400")}), "claims"},
		"expired":                {claim(map[string]any{"exp": now - 1}), "expired at"},
		"exp now":                {claim(map[string]any{"exp": now}), "expired at"},
		"Exp in place of exp":    {claim(map[string]any{"exp": nil, "Exp": now + 600}), "claim exp is missing"},
		"jti missing":            {claim(map[string]any{"jti": nil}), "claim jti is missing"},
		"jti a path":             {claim(map[string]any{"jti": "../../x"}), "jti"},
		"token_use refresh":      {claim(map[string]any{"token_use": "refresh"}), `it is for \"refresh\"`},
		"token_use missing":      {claim(map[string]any{"token_use": nil}), "claim token_use is missing"},
		"token_use another":      {claim(map[string]any{"token_use": "proxy"}), `it is for \"proxy\"`},
		"sub missing":            {claim(map[string]any{"sub": nil}), "claim sub is missing"},
		"sub nobody":             {claim(map[string]any{"sub": "nobody"}), "does not exist"},
		"sub a path":             {claim(map[string]any{"sub": "../sec/ca"}), "does not exist"},
		"sub root, who is none":  {claim(map[string]any{"sub": "root", "grant": []string{"root"}}), "does not exist"},
		"grant no grant":         {claim(map[string]any{"grant": []string{"boss"}}), "claim grant"},
		"grant a string":         {claim(map[string]any{"grant": "root"}), "claims"},
		"sub twice":              {raw(whole + `,"sub":"root"}`), "duplicate key"},
		"grant twice":            {raw(whole + `,"grant":["root"]}`), "duplicate key"},
		"claims that go on":      {raw(whole + `}{"sub":"root"}`), "claims"},
		"claims that are none":   {raw(`"alice"`), "claims"},
		"claims that end early":  {raw(whole), "claims"},
	}
}

// misshapen are good tokens in another spelling. Two spellings of one token would be two for whoever compares them, or counts them out.
func misshapen(compact string) map[string][2]string {
	parts := strings.Split(compact, ".")
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	// RFC 8032, 5.1.7: S below the order of the group. S plus the order fits as well, and is the same to who does not look.
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(signature[32:])
	slices.Reverse(s)
	s = new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	malleable := parts[0] + "." + parts[1] + "." + encode(append(slices.Clone(signature[:32]), s...))
	// The last of 86 characters has four bits that stand for nothing.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", compact[len(compact)-1])
	loose := compact[:len(compact)-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1:last|1+1]
	return map[string][2]string{
		"S plus the order":        {malleable, "not that of key"},
		"bits that nobody reads":  {loose, "is not base64url"},
		"padding":                 {compact + "==", "is not base64url"},
		"a dot at the end":        {compact + ".", "4 parts"},
		"five parts":              {"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA", "5 parts"},
		"two parts":               {parts[0] + "." + parts[1], "2 parts"},
		"one part":                {"alice", "1 parts"},
		"a blank within":          {parts[0] + ". " + parts[1] + "." + parts[2], "is not base64url"},
		"two tokens":              {compact + "," + compact, "parts"},
		"a blank before it":       {" " + compact, "is not base64url"},
		"garbage behind it":       {compact + "AAAA", "signature"},
		"the signature cut short": {compact[:len(compact)-4], "token"},
		"a header cut short":      {parts[0][4:] + "." + parts[1] + "." + parts[2], "header"},
		"quotes":                  {`"` + compact + `"`, "is not base64url"},
		"40 kB":                   {strings.Repeat("A", 40_000), "at most 32768"},
		"40 kB that are a token":  {parts[0] + "." + parts[1] + "." + strings.Repeat("A", 40_000), "at most 32768"},
		"JSON serialization":      {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "parts"},
	}
}

// TestTokenAttacks: what is not a token of the cluster, word for word, is nobody's. Outside it always looks the same; the log says why.
func TestTokenAttacks(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1")
	other := newBearers(t)
	other.user("alice", "grant=root")
	f := b.forge()
	if status, body := b.whoami(f.claiming(nil)); status != http.StatusOK || !strings.Contains(body, `"name":"alice"`) {
		t.Fatalf("what is forged well is not taken, so the rest proves nothing: %d %s", status, body)
	}
	good := b.issue("subject=alice&refresh=true")
	attacks := map[string][2]string{
		"of another cluster": {other.issue("subject=alice").AccessToken, "none of this cluster"},
		"a refresh token":    {good.RefreshToken, `it is for \"refresh\"`},
	}
	for _, more := range []map[string][2]string{f.confused(t), f.misheaded(), f.misclaimed(), misshapen(good.AccessToken)} {
		maps.Copy(attacks, more)
	}
	_, nobody := b.send("GET", "/whoami")
	b.log.take()
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		compact, reason := attacks[name][0], attacks[name][1]
		status, body := b.whoami(compact)
		if status != http.StatusUnauthorized || body != nobody {
			t.Errorf("%s: %d %s, want 401 and the same as for nobody", name, status, body)
		}
		log := b.log.take()
		if !strings.Contains(log, reason) {
			t.Errorf("%s: the log does not say %q: %.600s", name, reason, log)
		}
		if len(compact) > 100 && strings.Contains(log, compact[len(compact)-40:]) {
			t.Errorf("%s: the token is in the log", name)
		}
	}
	if status, _ := b.whoami(good.AccessToken); status != http.StatusOK {
		t.Errorf("after all that the good one gives %d", status)
	}
}

// TestTokenElsewhere: a token is taken from one header, once.
func TestTokenElsewhere(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1")
	compact := b.issue("subject=alice").AccessToken
	for name, tt := range map[string]struct {
		path   string
		lines  []string
		status int
	}{
		"as it is":           {"/whoami", []string{"Bearer " + compact}, http.StatusOK},
		"scheme in any case": {"/whoami", []string{"bEaReR " + compact}, http.StatusOK}, // RFC 9110, 11.1
		"no scheme":          {"/whoami", []string{compact}, http.StatusUnauthorized},
		"another scheme":     {"/whoami", []string{"DPoP " + compact}, http.StatusUnauthorized},
		"twice":              {"/whoami", []string{"Bearer " + compact, "Bearer " + compact}, http.StatusUnauthorized},
		"behind another":     {"/whoami", []string{"Bearer x", "Bearer " + compact}, http.StatusUnauthorized},
		"in the URL":         {"/whoami?access_token=" + compact, nil, http.StatusUnauthorized},
		"in the URL, too":    {"/whoami?access_token=" + compact, []string{"Bearer " + compact}, http.StatusBadRequest},
		"empty":              {"/whoami", []string{"Bearer "}, http.StatusUnauthorized},
		"nothing":            {"/whoami", []string{"Bearer"}, http.StatusUnauthorized},
	} {
		if status, body := b.send("GET", tt.path, tt.lines...); status != tt.status {
			t.Errorf("%s: %d %s, want %d", name, status, body, tt.status)
		}
	}
	if status, _ := b.whoami(strings.Repeat("A", 1<<20)); status != http.StatusRequestHeaderFieldsTooLarge && status != http.StatusUnauthorized {
		t.Errorf("1 MB: %d", status)
	}
}
