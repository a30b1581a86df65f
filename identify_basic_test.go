package omca

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"omca/usr"
)

// front is a server whose API is called directly, from any address, with a
// clock that stands still until it is moved.
type front struct {
	testing.TB
	s     *Server
	clock atomic.Int64 // nanoseconds

	mu  sync.Mutex
	log bytes.Buffer
}

func (f *front) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

// said returns what was logged since the last time.
func (f *front) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.log.Reset()
	return f.log.String()
}

func newFront(t testing.TB) *front {
	t.Helper()
	return frontOf(t, Config{})
}

// frontOf opens c, which lacks what every front has.
func frontOf(t testing.TB, c Config) *front {
	t.Helper()
	f := &front{TB: t}
	f.clock.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	c.Home, c.ClusterName, c.NodeName, c.Log = t.TempDir()+"/home", "clu", "node1", slog.New(slog.NewJSONHandler(f, nil))
	c.Now = func() time.Time { return time.Unix(0, f.clock.Load()) }
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

const userPath = "/api/object/path/system/usr/"

// call makes one request. The headers are names and values in turn.
func (f *front) call(ctx context.Context, from, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body)).WithContext(ctx)
	r.RemoteAddr = from
	media := "application/json"
	if strings.Contains(target, "/data/key") {
		media = "application/octet-stream"
	}
	r.Header.Set("Content-Type", media)
	r.Header.Set("X-Request-Id", "same")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.s.handler.ServeHTTP(w, r)
	return w
}

// root calls as the machine's root, and must succeed.
func (f *front) root(method, target, body string) *httptest.ResponseRecorder {
	f.Helper()
	w := f.asRoot(method, target, body)
	if w.Code/100 != 2 {
		f.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w
}

func (f *front) asRoot(method, target, body string) *httptest.ResponseRecorder {
	return f.call(context.WithValue(f.Context(), localKey{}, "test"), "@", method, target, body)
}

// user makes a user with a password, "" for none.
func (f *front) user(name, password string, keywords ...string) {
	f.Helper()
	f.root("POST", userPath+name, `{"keywords":["`+strings.Join(append(keywords, "comment=x"), `","`)+`"]}`)
	if password != "" {
		f.root("POST", userPath+name+"/data/key?name=password&weak=true", password)
	}
}

func basicHeader(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// login asks who one is with a name and a password.
func (f *front) login(from, name, password string, headers ...string) *httptest.ResponseRecorder {
	return f.call(f.Context(), from, "GET", "/whoami", "", append([]string{"Authorization", basicHeader(name, password)}, headers...)...)
}

func (f *front) want(w *httptest.ResponseRecorder, status int) {
	f.Helper()
	if w.Code != status {
		f.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
}

const somewhere = "198.51.100.7:4711"

// A password opens the door as long as it is the user's password and the user
// may call, and not a moment longer.
func TestPasswordOpens(t *testing.T) {
	f := newFront(t)
	f.user("alice", "caf\u00e9", "grant=admin:ns1 guest:ns2")
	w := f.login(somewhere, "alice", "caf\u00e9")
	f.want(w, http.StatusOK)
	const whoami = `{"auth":"basic","grant":{"admin":["ns1"],"guest":["ns2"]},"name":"alice","namespace":"system","raw_grant":"admin:ns1 guest:ns2"}` + "\n"
	if w.Body.String() != whoami {
		t.Errorf("whoami is %s", w.Body)
	}
	f.want(f.login(somewhere, "Alice", "cafe\u0301"), http.StatusOK) // typed on another keyboard
	f.want(f.login(somewhere, "alice", "cafe"), http.StatusUnauthorized)
	if methods := f.call(t.Context(), somewhere, "GET", "/api/auth/info", "").Body.String(); !strings.Contains(methods, `"basic"`) {
		t.Errorf("the ways in are %s", methods)
	}

	f.root("PUT", userPath+"alice/data/key?name=password&weak=true", "second")
	f.want(f.login(somewhere, "alice", "caf\u00e9"), http.StatusUnauthorized)
	f.want(f.login(somewhere, "alice", "second"), http.StatusOK)

	f.root("PATCH", userPath+"alice/config?set=disabled%3Dtrue", "")
	f.want(f.login(somewhere, "alice", "second"), http.StatusUnauthorized)
	f.root("PATCH", userPath+"alice/config?set=disabled%3Dfalse", "")
	f.want(f.login(somewhere, "alice", "second"), http.StatusOK)

	f.root("PATCH", userPath+"alice/config?set=allowed_ips%3D203.0.113.0/24", "")
	f.want(f.login(somewhere, "alice", "second"), http.StatusUnauthorized)
	f.want(f.login("203.0.113.9:1", "alice", "second"), http.StatusOK)
	f.root("PATCH", userPath+"alice/config?unset=allowed_ips", "")

	f.root("DELETE", userPath+"alice/data/key?name=password", "")
	f.want(f.login(somewhere, "alice", "second"), http.StatusUnauthorized)
	f.root("PATCH", userPath+"alice/data", `[{"action":"add","name":"password","string":"third","weak":true}]`)
	f.want(f.login(somewhere, "alice", "third"), http.StatusOK)
	f.root("POST", userPath+"alice", `{"keywords":["grant=guest"],"force":true}`) // another alice
	f.want(f.login(somewhere, "alice", "third"), http.StatusUnauthorized)
	f.root("POST", userPath+"alice/action/delete", "")
	f.want(f.login(somewhere, "alice", "third"), http.StatusUnauthorized)
}

// Whatever is wrong, the answer is the same byte for byte, and so is the work.
func TestRefusalsLookAlike(t *testing.T) {
	f := newFront(t)
	f.root("PATCH", "/api/cluster/config?set=listener.rate_limiter_rate%3D0", "")
	f.user("alice", "secret", "grant=root")
	f.user("bare", "")
	f.user("off", "secret", "disabled=true")
	f.user("far", "secret", "allowed_ips=203.0.113.9")
	attempt := func(authorization string) (string, int64) {
		before := f.s.passwords.Derived()
		w := f.call(t.Context(), somewhere, "GET", "/whoami", "", "Authorization", authorization)
		return fmt.Sprint(w.Code, w.Header(), w.Body), f.s.passwords.Derived() - before
	}
	answer, work := attempt(basicHeader("alice", "wrong"))
	if !strings.HasPrefix(answer, "401") || work != 1 || !strings.Contains(answer, "not authenticated") {
		t.Fatalf("a wrong password: %s, %d hashes", answer, work)
	}
	for what, authorization := range map[string]string{
		"a user who does not exist":  basicHeader("nobody", "wrong"),
		"a user without a password":  basicHeader("bare", "secret"),
		"a disabled user":            basicHeader("off", "secret"),
		"a user from elsewhere":      basicHeader("far", "secret"),
		"a name that is none":        basicHeader("../alice", "secret"),
		"a long name":                basicHeader(strings.Repeat("a", 500), "secret"),
		"a name with NUL":            basicHeader("alice\x00", "secret"),
		"a name that is not UTF-8":   basicHeader("alic\xe9", "secret"),
		"other case":                 basicHeader("alice", "SECRET"),
		"the hash is not a password": basicHeader("alice", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA"),
		"a colon in front":           basicHeader("alice", ":secret"),
	} {
		got, did := attempt(authorization)
		if got != answer || did != 1 {
			t.Errorf("%s: %s, %d hashes, want %s, 1 hash", what, got, did, answer)
		}
	}
	// These can be nobody's password, whoever is asked for: no work at all.
	for what, authorization := range map[string]string{
		"empty": basicHeader("alice", ""), "empty, nobody": basicHeader("nobody", ""),
		"NUL behind": basicHeader("alice", "secret\x00"), "a line break behind": basicHeader("alice", "secret\n"),
		"not UTF-8": basicHeader("alice", "secret\xff"), "long": basicHeader("alice", strings.Repeat("x", 1025)),
		"a megabyte": basicHeader("alice", strings.Repeat("x", 1<<20)), "no colon": "Basic " + base64.StdEncoding.EncodeToString([]byte("alice")),
		"no name": basicHeader("", "secret"), "not base64": "Basic secret!", "nothing": "Basic ", "no blank": "Basic", "base64 of URLs": "Basic _-_-",
		"bits left over": "Basic YWxpY2U6c2VjcmV0Zh==", "no scheme": "alice:secret", "another scheme": "Digest " + basicHeader("alice", "secret"),
	} {
		if got, did := attempt(authorization); got != answer || did != 0 {
			t.Errorf("%s: %s, %d hashes, want the same and none", what, got, did)
		}
	}
	if got, _ := attempt(basicHeader("alice", "secret")); !strings.HasPrefix(got, "200") {
		t.Errorf("the right password: %s", got)
	}
	if log := f.said(); strings.Contains(log, "secret") || strings.Contains(log, "argon2id") {
		t.Error("a password is in the log")
	}
}

// Ten thousand guesses are twenty hashes, whoever exists and whatever they say
// of where they come from; the right one among them is not found.
func TestTenThousandGuesses(t *testing.T) {
	f := newFront(t)
	f.user("alice", "secret", "grant=root")
	f.user("bob", "secret of bob")
	f.said()
	answers := make(map[string]map[string]int)
	for _, name := range []string{"alice", "nobody"} {
		before := f.s.passwords.Derived()
		answers[name] = make(map[string]int)
		for i := range 5000 {
			password := strconv.Itoa(i)
			if i > 100 && name == "alice" {
				password = "secret"
			}
			from := "203.0.113.1:4711"
			if name == "nobody" {
				from = "203.0.113.2:4711"
			}
			w := f.login(from, name, password, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i%256), "Forwarded", "for=127.0.0.1")
			answers[name][fmt.Sprint(w.Code, w.Header()["Retry-After"], w.Body)]++
		}
		if work := f.s.passwords.Derived() - before; work != 20 {
			t.Errorf("%s: %d hashes for 5000 guesses, want 20", name, work)
		}
	}
	if len(answers["alice"]) != 2 || fmt.Sprint(answers["alice"]) != fmt.Sprint(answers["nobody"]) {
		t.Errorf("the answers for somebody: %v\nfor nobody: %v", answers["alice"], answers["nobody"])
	}
	log := f.said()
	if n := strings.Count(log, `"msg":"limited"`); n != 2*4980 {
		t.Errorf("%d audit lines of the limit, want one for each", n)
	}
	if !strings.Contains(log, `"reason":"user \"alice\": too many attempts to log in: from address 203.0.113.1; again in 1s"`) || strings.Contains(log, "nobody") {
		t.Errorf("the audit line: %.600s", log[strings.Index(log, `"msg":"limited"`):])
	}
	w := f.login("203.0.113.3:1", "alice", "secret") // from elsewhere, while alice is locked
	f.want(w, http.StatusTooManyRequests)
	if got := w.Header(); got.Get("Retry-After") != "1" || got.Get("Content-Type") != "application/problem+json" {
		t.Errorf("headers of 429: %v", got)
	}
	if body := w.Body.String(); !strings.Contains(body, `"title":"Too Many Requests","status":429,"detail":"too many attempts to log in"`) || strings.Contains(body, "alice") {
		t.Errorf("body of 429: %s", body)
	}
	f.want(f.login("203.0.113.1:1", "bob", "secret of bob"), http.StatusTooManyRequests) // from the address
	f.want(f.login("203.0.113.4:1", "bob", "secret of bob"), http.StatusOK)
	f.clock.Add(int64(time.Second))
	f.want(f.login("203.0.113.3:1", "alice", "secret"), http.StatusOK)

	// root unlocks; the limits are keywords.
	f.root("PATCH", "/api/cluster/config?set=listener.rate_limiter_rate%3D1/h&set=listener.rate_limiter_burst%3D2", "")
	for range 5 {
		f.login("203.0.113.5:1", "bob", "wrong")
	}
	w = f.login("203.0.113.6:1", "bob", "secret of bob")
	f.want(w, http.StatusTooManyRequests)
	if w.Header().Get("Retry-After") != "3600" {
		t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
	}
	if body := f.root("POST", userPath+"bob/action/unlock", "").Body.String(); body != `{"object":"system/usr/bob","unlocked":true}`+"\n" {
		t.Errorf("unlock: %s", body)
	}
	f.want(f.login("203.0.113.6:1", "bob", "secret of bob"), http.StatusOK)
	if body := f.root("POST", userPath+"bob/action/unlock", "").Body.String(); !strings.Contains(body, `"unlocked":false`) {
		t.Errorf("unlock again: %s", body)
	}
	f.want(f.asRoot("POST", userPath+"nosuch/action/unlock", ""), http.StatusNotFound)
	f.want(f.asRoot("POST", "/api/object/path/ns1/usr/bob/action/unlock", ""), http.StatusBadRequest)
}

// Guesses at once get no more than guesses one after another.
func TestGuessesAtOnce(t *testing.T) {
	f := newFront(t)
	f.user("alice", "secret")
	before := f.s.passwords.Derived()
	var wg sync.WaitGroup
	var limited atomic.Int64
	for i := range 50 {
		wg.Go(func() {
			for range 20 {
				from := fmt.Sprintf("198.51.100.%d:1", i)
				if f.login(from, "alice", "wrong").Code == http.StatusTooManyRequests {
					limited.Add(1)
				}
			}
		})
	}
	wg.Wait()
	work := f.s.passwords.Derived() - before
	if work > 20 || limited.Load() < 980 {
		t.Errorf("of 1000 guesses at once %d were looked at and %d limited", work, limited.Load())
	}
}

// What a proxy says is believed of the proxies that are named, and there the
// limits and allowed_ips are those of the client.
func TestTrustedProxies(t *testing.T) {
	f := newFront(t)
	f.user("alice", "secret", "allowed_ips=203.0.113.9 192.0.2.10")
	f.user("bob", "secret")
	const proxy = "192.0.2.10:4711"
	f.want(f.login(somewhere, "alice", "secret", "X-Forwarded-For", "203.0.113.9"), http.StatusUnauthorized)
	f.root("PATCH", "/api/cluster/config?set=listener.trusted_proxies%3D192.0.2.10", "")
	f.said()
	f.want(f.login(proxy, "alice", "secret", "X-Forwarded-For", "203.0.113.9"), http.StatusOK)
	f.want(f.login(proxy, "alice", "secret", "X-Forwarded-For", "203.0.113.9, 203.0.113.8"), http.StatusUnauthorized)
	if log := f.said(); !strings.Contains(log, `"address":"203.0.113.8"`) {
		t.Errorf("the audit line does not say where it came from: %s", log)
	}
	f.want(f.login(somewhere, "alice", "secret", "X-Forwarded-For", "203.0.113.9"), http.StatusUnauthorized)
	// A client that makes its proxy say nonsense does not pass for the proxy, who may.
	f.want(f.login(proxy, "alice", "secret", "X-Forwarded-For", "203.0.113.8", "Forwarded", "for=203.0.113.9"), http.StatusUnauthorized)
	f.want(f.login(proxy, "alice", "secret", "X-Forwarded-For", "nonsense"), http.StatusUnauthorized)
	f.want(f.login(proxy, "alice", "secret"), http.StatusOK)
	// One client behind the proxy is locked out, the others are not.
	for i := range 30 {
		f.login(proxy, fmt.Sprintf("user%d", i), "wrong", "X-Forwarded-For", "203.0.113.20")
	}
	f.want(f.login(proxy, "bob", "secret", "X-Forwarded-For", "203.0.113.20"), http.StatusTooManyRequests)
	f.want(f.login(proxy, "bob", "secret", "X-Forwarded-For", "203.0.113.21"), http.StatusOK)
	f.root("PATCH", "/api/cluster/config?unset=listener.trusted_proxies", "")
	f.want(f.login(proxy, "alice", "secret", "X-Forwarded-For", "203.0.113.9"), http.StatusOK) // it is the proxy again
	f.want(f.login("192.0.2.11:1", "alice", "secret", "X-Forwarded-For", "203.0.113.9"), http.StatusUnauthorized)
}

// A reverse proxy on this machine does not make everybody a caller on this machine.
func TestMetricsBehindProxy(t *testing.T) {
	f := newFront(t)
	f.want(f.call(t.Context(), "127.0.0.1:1", "GET", "/metrics", ""), http.StatusOK)
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		f.want(f.call(t.Context(), "127.0.0.1:1", "GET", "/metrics", "", header, "127.0.0.1"), http.StatusUnauthorized)
	}
	f.want(f.call(t.Context(), somewhere, "GET", "/metrics", ""), http.StatusUnauthorized)
}

// Whatever stands between a client and this server, both read the same
// credentials out of a request, or there are none.
func TestSmuggledCredentials(t *testing.T) {
	f := newFront(t)
	f.user("alice", "se:cret")
	server := httptest.NewServer(f.s.handler)
	defer server.Close()
	good := strings.TrimPrefix(basicHeader("alice", "se:cret"), "Basic ")
	bad := strings.TrimPrefix(basicHeader("alice", "wrong"), "Basic ")
	for what, tt := range map[string]struct {
		headers string
		status  int
	}{
		"as it should be":         {"Authorization: Basic " + good, 200},
		"scheme in other letters": {"authorization: bASIC " + good, 200},
		"more blanks":             {"Authorization: Basic   " + good + "  ", 200},
		"the good one first":      {"Authorization: Basic " + good + "\r\nAuthorization: Basic " + bad, 401},
		"the good one last":       {"Authorization: Basic " + bad + "\r\nAuthorization: Basic " + good, 401},
		"the same twice":          {"Authorization: Basic " + good + "\r\nauthorization: Basic " + good, 401},
		"beside a token":          {"Authorization: Bearer x\r\nAuthorization: Basic " + good, 401},
		"beside an empty one":     {"Authorization:\r\nAuthorization: Basic " + good, 401},
		"a list":                  {"Authorization: Basic " + bad + ", Basic " + good, 401},
		"folded":                  {"Authorization: Basic " + good[:8] + "\r\n " + good[8:], 401},
		"a tab":                   {"Authorization: Basic\t" + good, 401},
		"blank before the colon":  {"Authorization : Basic " + good, 400},
		"NUL in it":               {"Authorization: Basic " + good + "\x00", 400},
		"for a proxy":             {"Proxy-Authorization: Basic " + good, 401},
		"other name for it":       {"X-Authorization: Basic " + good, 401},
		"a name for the asking":   {"X-Remote-User: alice\r\nX-Auth-User: alice\r\nRemote-User: alice", 401},
		"a name with a colon":     {"Authorization: " + basicHeader("alice:se", "cret"), 200}, // is alice and se:cret, as RFC 7617 has it
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET /whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+tt.headers+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if answer.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", what, answer.StatusCode, tt.status)
		}
		if err := errors.Join(answer.Body.Close(), conn.Close()); err != nil {
			t.Fatal(err)
		}
		f.s.guesses.Unlock(usr.GuessLimit{}, "alice")
	}
}

// Whichever way a password comes it is kept as a hash, and nobody reads it.
func TestPasswordIsHashed(t *testing.T) {
	f := newFront(t)
	f.user("alice", "")
	at := userPath + "alice/data"
	const looks = "$2a$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234" // like a hash, and is a password
	// Long enough not to be in a hash by chance: two letters are in one of sixty.
	for i, step := range []struct{ method, target, body, password string }{
		{"POST", at + "/key?name=password", "sesame 0", "sesame 0"},
		{"PUT", at + "/key?name=password", "sesame 1", "sesame 1"},
		{"PATCH", at, `[{"action":"change","name":"password","string":"sesame 2"}]`, "sesame 2"},
		{"PATCH", at, `[{"action":"change","name":"password","bytes":"c2VzYW1lIDM="}]`, "sesame 3"},
		{"PATCH", at, `[{"action":"add","name":"z","string":"z"},{"action":"change","name":"password","string":"sesame 4"}]`, "sesame 4"},
		{"PUT", at + "/key?name=password", looks, looks},
	} {
		before, err := f.s.objects.User(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		f.root(step.method, step.target, step.body)
		hash, err := f.s.objects.PasswordHash(t.Context(), "alice")
		if err != nil || hash.Scheme() != "argon2id" || bytes.Contains(hash.Encode(), []byte(step.password)) {
			t.Errorf("step %d: kept as %s: %v", i, hash.Encode(), err)
		}
		f.want(f.login(somewhere, "alice", step.password), http.StatusOK)
		after, err := f.s.objects.User(t.Context(), "alice")
		if err != nil || !after.PasswordChanged.After(before.PasswordChanged) {
			t.Errorf("step %d: changed %s, then %s: %v", i, before.PasswordChanged, after.PasswordChanged, err)
		}
	}
	f.root("POST", at+"/key?name=other", "x")
	f.user("bob", "bobs")
	for what, w := range map[string]*httptest.ResponseRecorder{
		"reading":              f.asRoot("GET", at+"/key?name=password", ""),
		"reading with others":  f.asRoot("GET", at+"?name=other&name=password", ""),
		"renaming":             f.asRoot("PATCH", at, `[{"action":"rename","name":"password","to":"x"}]`),
		"renaming by way":      f.asRoot("PATCH", at, `[{"action":"rename","name":"other","to":"y"},{"action":"rename","name":"password","to":"x"}]`),
		"reading oneself":      f.call(t.Context(), somewhere, "GET", userPath+"bob/data/key?name=password", "", "Authorization", basicHeader("bob", "bobs")),
		"another taking place": f.asRoot("PATCH", at, `[{"action":"remove","name":"password"},{"action":"rename","name":"other","to":"password"}]`),
		"twice":                f.asRoot("PATCH", at, `[{"action":"change","name":"password","string":"x"},{"action":"change","name":"password","string":"y"}]`),
		"empty":                f.asRoot("PUT", at+"/key?name=password", ""),
		"empty, in a list":     f.asRoot("PATCH", at, `[{"action":"change","name":"password"}]`),
		"NUL":                  f.asRoot("PUT", at+"/key?name=password", "a\x00b"),
		"line break":           f.asRoot("PUT", at+"/key?name=password", "a\n"),
		"a megabyte":           f.asRoot("PUT", at+"/key?name=password", strings.Repeat("x", 1_000_000)),
		"no hash":              f.asRoot("PUT", at+"/key?name=password&hashed=true", "sesame"),
		"a costly hash":        f.asRoot("PUT", at+"/key?name=password&hashed=true", "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA"),
		"a hash of no user":    f.asRoot("POST", "/api/object/path/ns1/sec/x/data/key?name=password&hashed=true", looks),
		"a hash of no key":     f.asRoot("POST", at+"/key?name=third&hashed=true", looks),
	} {
		if w.Code/100 != 4 || strings.Contains(w.Body.String(), "argon2id$v") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	f.want(f.login(somewhere, "alice", looks), http.StatusOK) // nothing of it changed anything
	for _, target := range []string{at, at + "/keys", userPath + "alice", "/api/object?path=system/usr/*", userPath + "alice/config/file"} {
		if body := f.root("GET", target, "").Body.String(); strings.Contains(body, "argon2") || strings.Contains(body, base64.StdEncoding.EncodeToString([]byte("$argon2"))[:8]) {
			t.Errorf("GET %s gives the hash away: %s", target, body)
		}
	}
	// Elsewhere than in system nobody logs in, and a password is a password.
	f.root("POST", "/api/object/path/ns1/usr/alice", `{"keywords":["comment=x"]}`)
	f.root("POST", "/api/object/path/ns1/usr/alice/data/key?name=password&weak=true", "a5")
	f.want(f.asRoot("GET", "/api/object/path/ns1/usr/alice/data/key?name=password", ""), http.StatusForbidden)
	if log := f.said(); strings.Contains(log, looks) || strings.Contains(log, "argon2id$v") {
		t.Error("a password is in the log")
	}
}

// A hash from elsewhere is taken when it is called one, and is made anew at the
// first login, which is no change of the password.
func TestImportedHash(t *testing.T) {
	f := newFront(t)
	f.user("alice", "")
	text, err := bcrypt.GenerateFromPassword([]byte("sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	f.root("POST", userPath+"alice/data/key?name=password&hashed=true", string(text))
	scheme := func() string {
		h, err := f.s.objects.PasswordHash(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		return h.Scheme()
	}
	before, err := f.s.objects.User(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	f.want(f.login(somewhere, "alice", "wrong"), http.StatusUnauthorized)
	f.want(f.login(somewhere, "alice", string(text)), http.StatusUnauthorized)
	if got := scheme(); got != "bcrypt" {
		t.Errorf("before a login the hash is of %s", got)
	}
	var wg sync.WaitGroup
	for range 4 { // one of them is first, and all are let in
		wg.Go(func() { f.want(f.login(somewhere, "alice", "sesame"), http.StatusOK) })
	}
	wg.Wait()
	after, err := f.s.objects.User(t.Context(), "alice")
	if got := scheme(); err != nil || got != "argon2id" || !after.PasswordChanged.Equal(before.PasswordChanged) || before.PasswordChanged.IsZero() {
		t.Errorf("after a login the hash is of %s, and was changed %s, before %s: %v", got, after.PasswordChanged, before.PasswordChanged, err)
	}
	f.want(f.login(somewhere, "alice", "sesame"), http.StatusOK)
	// A better hash of the former password does not come back over a new one.
	old, err := f.s.objects.PasswordHash(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	f.root("PUT", userPath+"alice/data/key?name=password&weak=true", "new")
	f.s.improvePassword(httptest.NewRequest("GET", "/", nil), "alice", old, old)
	f.want(f.login(somewhere, "alice", "sesame"), http.StatusUnauthorized)
	f.want(f.login(somewhere, "alice", "new"), http.StatusOK)
}

// Who may set a password may be that user: needs all that the user holds.
func TestWhoSetsPasswords(t *testing.T) {
	f := newFront(t)
	f.user("boss", "secret words", "grant=root")
	f.user("carol", "secret words", "grant=guest:ns1")
	f.user("clerk", "secret words", "grant=admin:system guest:ns1")
	f.user("guest", "secret words", "grant=guest:system")
	by := func(name, method, target, body string) *httptest.ResponseRecorder {
		return f.call(t.Context(), somewhere, method, target, body, "Authorization", basicHeader(name, "secret words"))
	}
	for _, tt := range []struct {
		by, user string
		status   int
	}{
		{"clerk", "boss", 403}, {"clerk", "carol", 204}, {"guest", "carol", 403}, {"carol", "carol", 403}, {"carol", "boss", 403}, {"boss", "clerk", 204},
	} {
		f.want(by(tt.by, "PUT", userPath+tt.user+"/data/key?name=password", "secret words"), tt.status)
		if tt.status == 204 {
			tt.status = 200
		}
		f.want(by(tt.by, "POST", userPath+tt.user+"/action/unlock", ""), tt.status)
	}
	f.want(by("clerk", "PUT", userPath+"boss/data/key?name=password&hashed=true", "$2a$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"), http.StatusForbidden)
}

// There is no way in but TLS: plain HTTP does not know passwords.
func TestNoPasswordsInTheClear(t *testing.T) {
	f := newFront(t)
	f.user("alice", "secret", "grant=root")
	for _, target := range []string{"/whoami", "/api/auth/whoami", "/api/auth/login", "/api/object", userPath + "alice"} {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Authorization", basicHeader("alice", "secret"))
		w := httptest.NewRecorder()
		before := f.s.passwords.Derived()
		f.s.public.ServeHTTP(w, r)
		if w.Code != http.StatusNotFound || f.s.passwords.Derived() != before || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
	}
}
