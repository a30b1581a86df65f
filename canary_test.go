package omca_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.step.sm/crypto/pemutil"

	"omca"
	"omca/internal/api"
	"omca/internal/openid/openidtest"
	"omca/internal/wire"
	"omca/pki"
)

// The canary: secrets that would be known anywhere go through every route that
// there is, in every place that takes something, and are looked for in every
// answer, in the log at its most talkative, and in every file of the home. They
// are where a route exists to give them, and that list is short and below.

// canary is one secret, and what it looks like.
type canary struct {
	name  string
	forms [][]byte
}

// forms are the shapes in which a secret could leave: as it is, in hexadecimal, in
// base64 of itself and of something longer, quoted for JSON and for a URL.
func forms(secret []byte) [][]byte {
	quoted, _ := json.Marshal(string(secret))
	all := [][]byte{
		secret, []byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret))), bytes.Trim(quoted, `"`),
		[]byte(url.QueryEscape(string(secret))), []byte(url.PathEscape(string(secret))), []byte(fmt.Sprint(secret)),
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		all = append(all, []byte(encoding.EncodeToString(secret)))
		for shift := 1; shift < 3; shift++ { // what is before it decides how it reads
			text := encoding.EncodeToString(append(make([]byte, shift), secret...))
			all = append(all, []byte(text[4:len(text)-2]))
		}
	}
	return all
}

// in reports whether text has the secret.
func (c canary) in(text []byte) bool {
	return slices.ContainsFunc(c.forms, func(form []byte) bool { return bytes.Contains(text, form) })
}

// whole is a text and, behind it, the text without the ends of its lines: PEM breaks
// a secret into many.
func whole(text []byte) []byte {
	line := bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\n"), nil), []byte(`\n`), nil)
	return append(append(bytes.Clone(text), '\n'), line...)
}

// canaryCage is a server that is watched while the secrets go through it.
type canaryCage struct {
	t    *testing.T
	r    *running
	home string
	log  *canaryLog

	network   http.RoundTripper // without a certificate
	federated *federated        // the same server, and its issuer
	canaries  []canary

	lockedKey   string // PEM, under keyPassword
	keyPassword []byte
}

// canaryLog keeps everything.
type canaryLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *canaryLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *canaryLog) all() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// know adds a secret to those that are looked for.
func (c *canaryCage) know(name string, secret []byte) []byte {
	c.t.Helper()
	if len(secret) < 12 {
		c.t.Fatalf("%s: %d bytes could be anywhere by chance", name, len(secret))
	}
	c.canaries = append(c.canaries, canary{name, forms(secret)})
	return secret
}

// knowKey adds a private key: what is in it, whatever it is written in.
func (c *canaryCage) knowKey(name string, text []byte) {
	c.t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		c.t.Fatalf("%s: no PEM: %.40q", name, text)
	}
	c.know(name, block.Bytes[len(block.Bytes)/4:len(block.Bytes)/4+24])
}

// given are the canaries that a route exists to give, by its id.
func given() map[string][]string {
	values := []string{"value", "user's key", "server's key", "CA's key", "listener's key", "token key"}
	return map[string][]string{
		"getKey": values, "getData": values, // who may read the value of a key: TestMatrix
		"pkcs12": {}, // under a password
	}
}

// looks fails for each secret that is in text and not given by the route.
func (c *canaryCage) looks(where, id string, text []byte) {
	c.t.Helper()
	text = whole(text)
	for _, one := range c.canaries {
		if one.in(text) && !slices.Contains(given()[id], one.name) {
			at := 0
			for _, form := range one.forms {
				if i := bytes.Index(text, form); i >= 0 {
					at = i
				}
			}
			c.t.Errorf("%s has the %s: …%q…", where, one.name, text[max(0, at-80):min(len(text), at+20)])
		}
	}
}

// newCage opens a server with everything in it that is secret.
func newCage(t *testing.T) *canaryCage {
	t.Helper()
	c := &canaryCage{t: t, log: new(canaryLog), home: filepath.Join(t.TempDir(), "home")}
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(passphrase, c.know("passphrase", []byte("canary-passphrase-91f2c7")), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.r = runServer(t, omca.Config{Home: c.home, PassphraseFile: passphrase, Log: log, ClusterName: "cage"})
	c.network = c.r.browser(t, nil).client.Transport
	s := c.r.Server
	local(t, s, "POST", "/api/object/path/ns1/sec/web", map[string]any{"keywords": []string{"cn=web.cage"}})
	local(t, s, "POST", "/api/object/path/ns1/sec/web/certificate", map[string]any{})
	value := string(c.know("value", []byte("canary-value-\"5e\\8d<\x01>-a0")))
	local(t, s, "PATCH", "/api/object/path/ns1/sec/web/data", []map[string]string{{"action": "add", "name": "color", "string": value}})
	local(t, s, "POST", "/api/object/path/ns1/sec/dump", map[string]any{})
	local(t, s, "POST", usersAt+"dump", map[string]any{})
	c.r.withPassword(t, "alice", "root", string(c.know("password", []byte("canary pässword 7c\"41+d9"))))
	for name, path := range map[string]string{"user's key": "system/usr/alice", "server's key": "ns1/sec/web", "CA's key": "system/sec/ca", "listener's key": "system/sec/cert"} {
		c.knowKey(name, local(t, s, "GET", "/api/object/path/"+path+"/data/key?name=private_key", nil))
	}
	var keys wire.DataKeyList
	if err := json.Unmarshal(local(t, s, "GET", "/api/object/path/system/sec/jwt/data/keys", nil), &keys); err != nil || len(keys.Items) == 0 {
		t.Fatalf("no key signs tokens: %v", err)
	}
	for _, k := range keys.Items {
		text := local(t, s, "GET", "/api/object/path/system/sec/jwt/data/key?name="+url.QueryEscape(k.Name), nil)
		if block, _ := pem.Decode(text); block != nil && strings.Contains(block.Type, "PRIVATE") {
			c.know("token key", block.Bytes[len(block.Bytes)-24:])
		}
	}
	c.lock(local(t, s, "GET", "/api/object/path/ns1/sec/web/data/key?name=private_key", nil))
	issuer, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	c.federated = &federated{running: c.r, t: t, issuer: issuer}
	c.federated.set("listener.openid_issuer=" + issuer.URL())
	c.federated.await(true)
	return c
}

// lock has a private key under a password, as operators bring them.
func (c *canaryCage) lock(text []byte) {
	c.t.Helper()
	key, err := pki.ParsePrivateKey(text, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.keyPassword = c.know("password of a key", []byte("canary-key-password-3e77"))
	block, err := pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword(c.keyPassword))
	if err != nil {
		c.t.Fatal(err)
	}
	c.lockedKey = string(pem.EncodeToMemory(block))
}

// canaryOperation is one route as its OpenAPI document has it.
type canaryOperation struct {
	ID         string `json:"operationId"`
	Parameters []struct {
		Name string `json:"name"`
		In   string `json:"in"`
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]json.RawMessage `json:"content"`
	} `json:"requestBody"`
	method, path string
}

func (c *canaryCage) operations() []canaryOperation {
	c.t.Helper()
	var doc struct {
		Paths map[string]map[string]canaryOperation `json:"paths"`
	}
	if err := json.Unmarshal(local(c.t, c.r.Server, "GET", "/api/openapi", nil), &doc); err != nil {
		c.t.Fatal(err)
	}
	var all []canaryOperation
	for path, methods := range doc.Paths {
		for method, op := range methods {
			op.method, op.path = strings.ToUpper(method), path
			all = append(all, op)
		}
	}
	slices.SortFunc(all, func(a, b canaryOperation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

// canaryBodies are what is sent to a route that takes a body: what it takes,
// and the same secrets where they do not belong.
func (c *canaryCage) canaryBodies(op canaryOperation, secrets map[string]string) []string {
	if op.RequestBody == nil {
		return []string{""}
	}
	var bodies []string
	for name, secret := range secrets {
		quoted, err := json.Marshal(secret)
		if err != nil {
			c.t.Fatal(err)
		}
		q := string(quoted)
		if bodies = append(bodies, secret, q); op.RequestBody.Content["text/plain"] != nil {
			continue // a config says its own words again
		}
		bodies = append(bodies, "["+q+"]",
			`{"name":"alice","password":`+q+`}`, `{"name":`+q+`,"password":"x"}`, `{"password":`+q+`,"format":"modern"}`, `{"password":{"x":`+q+`}}`, `{"password":`+q,
			`{"token":`+q+`}`, `{"csr":`+q+`}`, `{"source":`+q+`}`, `{"keywords":["comment=x"],"config":`+q+`}`, `{"private_key":`+q+`,"certificate":`+q+`}`,
			`[{"action":"add","name":"`+name+`","string":`+q+`}]`, `[{"action":"change","name":"password","string":`+q+`}]`,
			`[{"action":"add","name":"private_key","string":`+q+`}]`, `[{"action":"add","name":"private_key","string":`+c.quotedKey()+`,"password":`+q+`}]`,
			`[{"action":"add","name":"x","string":"y","password":`+q+`}]`, `[{"action":"add","name":"x","bytes":`+q+`}]`,
			"name=alice&password="+url.QueryEscape(secret), "name="+url.QueryEscape(secret)+"&password=x", "password="+url.QueryEscape(secret)+";x")
	}
	return bodies
}

func (c *canaryCage) quotedKey() string {
	quoted, err := json.Marshal(c.lockedKey)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(quoted)
}

// TestCanary sends the secrets through every route.
func TestCanary(t *testing.T) {
	t.Parallel()
	c := newCage(t)
	alice := c.credentials()
	secrets := map[string]string{}
	for _, one := range c.canaries {
		if one.name == "value" || one.name == "password" || one.name == "passphrase" {
			secrets[strings.ReplaceAll(one.name, " ", "")] = string(one.forms[0])
		}
	}
	secrets["key"] = string(local(t, c.r.Server, "GET", "/api/object/path/ns1/sec/web/data/key?name=private_key", nil))
	secrets["token"], secrets["cookie"] = alice.token, alice.secret
	secrets["openid"], secrets["cockpit"], secrets["keypassword"] = alice.openid, alice.cockpit, string(c.keyPassword)
	seen := map[string]bool{}
	for _, op := range c.operations() {
		if ends[op.ID] {
			continue // of what the others need: see the end
		}
		seen[op.ID] = true
		c.through(op, secrets, alice)
	}
	for _, op := range c.operations() {
		if ends[op.ID] {
			seen[op.ID] = true
			c.once(op, alice)
		}
	}
	if len(seen) < 60 {
		t.Errorf("%d routes: is the document whole?", len(seen))
	}
	c.looks("the log", "", c.log.all())
	c.files()
	if log := c.log.all(); !bytes.Contains(log, []byte(`"level":"DEBUG"`)) || !bytes.Contains(log, []byte(`"denied"`)) {
		t.Error("the log is not the one at level debug")
	}
	c.proves()
}

// ends are the routes that end what the other ones need.
var ends = map[string]bool{"changeOwnPassword": true, "stopDaemon": true, "restartNode": true, "deleteObject": true, "purgeObject": true, "rotateTokenKey": true, "revokeTokens": true, "revokeSessions": true, "getProfile": true}

// proofs are the ways in which alice calls.
type proofs struct {
	basic, token, refresh, secret string
	openid, cockpit               string // of an issuer; for other services
	browser                       *browser
}

// credentials has alice log in every way, and knows what she got.
func (c *canaryCage) credentials() proofs {
	c.t.Helper()
	password := string(c.secret("password"))
	p := proofs{basic: "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+password)), browser: c.r.browser(c.t, nil)}
	status, text := p.browser.do("POST", "/api/auth/token?refresh=true", "", "", "Authorization", p.basic)
	var pair wire.TokenPair
	if err := json.Unmarshal([]byte(text), &pair); err != nil || status != http.StatusOK || pair.RefreshToken == "" {
		c.t.Fatalf("token: %d %s %v", status, text, err)
	}
	p.token, p.refresh = pair.AccessToken, pair.RefreshToken
	for name, token := range map[string]string{"token": p.token, "refresh token": p.refresh} {
		c.know(name, []byte(token[strings.LastIndex(token, ".")+1:])) // the signature is what makes it one
	}
	p.browser.login("alice", password)
	p.secret = strings.TrimPrefix(p.browser.cookie, api.SessionCookie+"=")
	c.know("session", []byte(p.secret))
	c.t.Cleanup(p.browser.client.CloseIdleConnections)
	p.openid, p.cockpit = c.federated.token(map[string]any{"grant": "guest:ns1"}), c.cockpit()
	for name, token := range map[string]string{"token of the issuer": p.openid, "token of ClusterCockpit": p.cockpit} {
		c.know(name, []byte(token[strings.LastIndex(token, ".")+1:]))
	}
	for header, token := range map[string]string{"Authorization": "Bearer " + p.openid, "X-Auth-Token": p.cockpit} {
		if status, text := c.r.browser(c.t, nil).do("GET", "/whoami", "", "", header, token); status != http.StatusOK {
			c.t.Fatalf("%s: %d %s", header, status, text)
		}
	}
	return p
}

// cockpit is a token of alice for other services.
func (c *canaryCage) cockpit() string {
	c.t.Helper()
	local(c.t, c.r.Server, "PATCH", usersAt+"alice/config?set=roles%3Dapi", nil)
	var issued wire.ForeignToken
	if err := json.Unmarshal(local(c.t, c.r.Server, "POST", "/api/token/profile/clustercockpit", map[string]string{"subject": "alice", "duration": "1h"}), &issued); err != nil {
		c.t.Fatal(err)
	}
	return issued.Token
}

// target fills in the path of a route.
func (op canaryOperation) target(object, anything string) string {
	return strings.NewReplacer("{namespace}/{kind}/{name}", object, "{serial}", "abc", "{profile}", "clustercockpit", "/crl/{name}", "/crl/ca",
		"{request}", "AAAA", "{id}", strings.Repeat("a", 64), "{node}", "localhost").Replace(op.path) + anything
}

// through sends everything through one route, in all ways.
func (c *canaryCage) through(op canaryOperation, secrets map[string]string, alice proofs) {
	objects := []string{"system/usr/alice", "ns1/sec/web", "system/sec/jwt"}
	switch {
	case !strings.Contains(op.path, "{kind}"):
		objects = objects[:1]
	case op.ID == "pkcs12":
		objects = objects[:2]
	case op.method != http.MethodGet: // what others look at stays as it is
		objects = []string{"system/usr/dump", "ns1/sec/dump"}
	}
	queries := []string{""}
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		if p.Name == "name" {
			queries = append(queries, "?name=color", "?name=private_key", "?name=password", "?name=certificate", "?name=fullpem")
		}
	}
	// A token in a URL is refused, and not said again.
	queries = append(queries, "?access_token="+url.QueryEscape(alice.token), "?"+url.QueryEscape(secrets["password"])+"=x")
	for _, object := range objects {
		for _, query := range queries {
			bodies := []string{""}
			if query == "" || strings.HasPrefix(query, "?name=") {
				bodies = c.canaryBodies(op, secrets)
			}
			for i, body := range bodies {
				c.ask(op, object, query, body, i, alice)
			}
		}
	}
}

// ask makes one request by one of the ways to prove a name, in turn.
func (c *canaryCage) ask(op canaryOperation, object, query, body string, turn int, alice proofs) {
	c.t.Helper()
	header := http.Header{}
	switch turn % 6 {
	case 0:
		header.Set("Authorization", "Bearer "+alice.token)
	case 1:
		header.Set("Cookie", api.SessionCookie+"="+alice.secret)
	case 2: // as root, in process
	case 3:
		header.Set("Authorization", "Bearer "+alice.refresh)
	case 4:
		header.Set("Authorization", "Bearer "+alice.openid)
	case 5:
		header.Set("X-Auth-Token", alice.cockpit)
	}
	if op.ID == "logout" || op.ID == "login" { // a login ends the session that the cookie is of
		header.Del("Cookie")
	}
	media := ""
	if op.RequestBody != nil {
		for m := range op.RequestBody.Content {
			if media = m; strings.HasPrefix(body, "name=") == (m == "application/x-www-form-urlencoded") {
				break
			}
		}
	}
	status, answer := c.send(op.method, op.target(object, query), media, body, header, turn%6 == 2)
	c.looks(fmt.Sprintf("the answer of %s %s%s (status %d, body %d)", op.ID, object, query[:min(len(query), 12)], status, turn), op.ID, answer)
}

// send returns the status and all of an answer, headers too.
func (c *canaryCage) send(method, target, media, body string, header http.Header, inProcess bool) (int, []byte) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	base, transport := "https://"+c.r.address, c.network
	if inProcess {
		base, transport = "http://omca", c.r.Transport()
	}
	req, err := http.NewRequestWithContext(ctx, method, base+target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = header
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer answer.Body.Close()
	var all bytes.Buffer
	if err := answer.Header.Write(&all); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.Copy(&all, answer.Body); err != nil {
		c.t.Fatal(err)
	}
	return answer.StatusCode, all.Bytes()
}

// once takes a route that ends something to its end.
func (c *canaryCage) once(op canaryOperation, alice proofs) {
	if op.ID == "changeOwnPassword" {
		c.changesPassword(op, alice)
		return
	}
	if op.ID == "stopDaemon" || op.ID == "restartNode" {
		// Refused: what is sent to it is looked at all the same.
		header := http.Header{"Authorization": {"Bearer " + alice.refresh}}
		_, answer := c.send(op.method, op.target("", ""), "", "", header, false)
		c.looks("the answer of "+op.ID, op.ID, answer)
		return
	}
	query := map[string]string{"revokeTokens": "?subject=alice", "revokeSessions": "?user=alice", "getProfile": ""}[op.ID]
	target := strings.Replace(op.target("ns1/sec/web", query), "/pprof/clustercockpit", "/pprof/goroutine", 1)
	_, answer := c.send(op.method, target, "", "", http.Header{}, true)
	c.looks("the answer of "+op.ID, op.ID, answer)
}

// changesPassword has alice change her password, with what is wrong first.
func (c *canaryCage) changesPassword(op canaryOperation, alice proofs) {
	for _, pair := range [][2]string{{"token", "password"}, {"password", "value"}, {"password", "passphrase"}} { // a value has control characters
		body, err := json.Marshal(wire.PasswordChange{Current: string(c.secret(pair[0])), Password: string(c.secret(pair[1]))})
		if err != nil {
			c.t.Fatal(err)
		}
		header := http.Header{"Cookie": {api.SessionCookie + "=" + alice.secret}}
		status, answer := c.send(op.method, op.path, "application/json", string(body), header, false)
		c.looks("the answer of "+op.ID, op.ID, answer)
		if done := status == http.StatusNoContent; done != (pair[1] == "passphrase") {
			c.t.Errorf("%s, from the %s to the %s: %d %s", op.ID, pair[0], pair[1], status, answer)
		}
	}
}

func (c *canaryCage) secret(name string) []byte {
	for _, one := range c.canaries {
		if one.name == name {
			return one.forms[0]
		}
	}
	c.t.Fatalf("no canary is called %q", name)
	return nil
}

// files looks into every file of the home. The store has the secrets sealed;
// what it is sealed with is under the passphrase.
func (c *canaryCage) files() {
	c.t.Helper()
	n := 0
	err := filepath.WalkDir(c.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		n += len(text)
		c.looks(path, "", text)
		return err
	})
	if err != nil || n < 10_000 {
		c.t.Errorf("%d bytes in the files of the home, %v", n, err)
	}
}

// proves that the canary would be seen.
func (c *canaryCage) proves() {
	c.t.Helper()
	for _, one := range c.canaries {
		secret := one.forms[0]
		for _, text := range [][]byte{
			append([]byte("x"), secret...), []byte(hex.EncodeToString(secret)), []byte(base64.StdEncoding.EncodeToString(append([]byte("user:"), secret...))),
		} {
			if !one.in(text) {
				c.t.Errorf("%s is not seen in %q", one.name, text)
			}
		}
	}
	if text := local(c.t, c.r.Server, "GET", "/api/object/path/system/usr/alice/data/key?name=private_key", nil); !slices.ContainsFunc(c.canaries, func(one canary) bool {
		return one.name == "user's key" && one.in(whole(text))
	}) {
		c.t.Error("the user's key is not seen where it is given")
	}
}
