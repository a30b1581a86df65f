package interop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/internal/interop/lab"
)

// ox does what OpenSVC's remote client does. The program itself cannot be fetched where these tests run: this is made of what was
// measured of it (which requests each of its commands makes, with which parameters, in which order, and what it makes of the answers),
// and of nothing else.
//
//   - each command on an object asks GET /api/object/path first, and takes any answer but 200 for an error;
//   - parameters that were not given are sent empty: "delete=&unset=";
//   - of an answer, only a status that its API documents is looked at, and then the problem in it is used without asking whether there
//     is one: a documented error without a JSON problem crashes it;
//   - the tokens of a context are in a file, as POST /api/auth/token gave them. A 401 is answered once: by the same token when it has not
//     expired, else after POST /api/auth/refresh and writing the file again;
//   - on a unix socket it speaks HTTP/2 at once, to the host localhost.
type ox struct {
	t      *testing.T
	client *http.Client
	base   string
	tokens string // file; "" for a context without
	asked  []string
}

// oxTokens is the file of the tokens of a context.
type oxTokens struct {
	AccessToken      string    `json:"access_token"`
	AccessExpiredAt  time.Time `json:"access_expired_at"`
	RefreshToken     string    `json:"refresh_token"`
	RefreshExpiredAt time.Time `json:"refresh_expired_at"`
}

// oxProblem is an error of the API: its three fields are required.
type oxProblem struct {
	Title  *string `json:"title"`
	Status *int    `json:"status"`
	Detail *string `json:"detail"`
}

// oxAnswer is an answer as its generated code has it: with the problem of a documented status, nil otherwise.
type oxAnswer struct {
	status  int
	header  http.Header
	body    []byte
	problem *oxProblem
}

// overTLS is a context on the network: with a client certificate, or with the tokens in a file.
func overTLS(t *testing.T, d *lab.Daemon, pair *tls.Certificate, tokens string) *ox {
	t.Helper()
	config := d.TLS(t, pair)
	config.MinVersion = tls.VersionTLS13
	transport := &http.Transport{TLSClientConfig: config} // HTTP/1.1: a transport with its own TLS does not try another
	t.Cleanup(transport.CloseIdleConnections)
	return &ox{t: t, client: &http.Client{Transport: transport, Timeout: lab.Patience}, base: d.URL(""), tokens: tokens}
}

// onSocket is the local context.
func onSocket(t *testing.T, socket string) *ox {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &ox{t: t, client: &http.Client{Transport: transport, Timeout: lab.Patience}, base: "http://localhost"}
}

// call makes a request, and once more when the first was refused and there is a token.
func (o *ox) call(method, path string, query url.Values, body []byte) oxAnswer {
	o.t.Helper()
	o.asked = append(o.asked, method+" "+path)
	answer := o.send(method, path, query, body, o.token().AccessToken)
	if answer.status != http.StatusUnauthorized || o.tokens == "" {
		return answer
	}
	if now := o.token(); time.Now().After(now.AccessExpiredAt) {
		o.asked = append(o.asked, "POST /api/auth/refresh")
		refreshed := o.send(http.MethodPost, "/api/auth/refresh", nil, nil, now.RefreshToken)
		if refreshed.status != http.StatusOK {
			return refreshed
		}
		o.save(mustJSON[oxTokens](o.t, refreshed), now)
	}
	return o.send(method, path, query, body, o.token().AccessToken)
}

// send makes one request.
func (o *ox) send(method, path string, query url.Values, body []byte, bearer string) oxAnswer {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.base+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	switch {
	case method == http.MethodPatch && body != nil:
		req.Header.Set("Content-Type", "application/json")
	case body != nil:
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := o.client.Do(req)
	if err != nil {
		o.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	a := oxAnswer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		o.t.Fatal(err)
	}
	documented := []int{400, 401, 403, 404, 408, 409, 413, 500}
	if slices.Contains(documented, a.status) {
		if strings.Contains(resp.Header.Get("Content-Type"), "json") {
			a.problem = &oxProblem{}
			if err := json.Unmarshal(a.body, a.problem); err != nil {
				o.t.Fatalf("%s %s: status %d: %v", method, path, a.status, err)
			}
		}
		if p := a.problem; p == nil || p.Title == nil || p.Status == nil || p.Detail == nil || *p.Status != a.status {
			o.t.Fatalf("%s %s: status %d with %q: the client would crash on it", method, path, a.status, a.body)
		}
	}
	return a
}

// token reads the file of the tokens; nothing when the context has none.
func (o *ox) token() oxTokens {
	o.t.Helper()
	var tokens oxTokens
	if o.tokens == "" {
		return tokens
	}
	text, err := os.ReadFile(o.tokens)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &tokens); err != nil {
		o.t.Fatal(err)
	}
	return tokens
}

// save writes the file of the tokens: a refresh gives an access token alone.
func (o *ox) save(next, before oxTokens) {
	o.t.Helper()
	if next.RefreshToken == "" {
		next.RefreshToken, next.RefreshExpiredAt = before.RefreshToken, before.RefreshExpiredAt
	}
	text, err := json.Marshal(next)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(o.tokens, text, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func mustJSON[T any](t *testing.T, a oxAnswer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("status %d: %q: %v", a.status, a.body, err)
	}
	return v
}

// object is how each command on an object begins. It returns where the object's routes are.
func (o *ox) object(path string) string {
	o.t.Helper()
	a := o.call(http.MethodGet, "/api/object/path", url.Values{"path": {path}}, nil)
	if a.status != http.StatusOK {
		o.t.Fatalf("selecting %s: status %d: %s", path, a.status, a.body)
	}
	if got := mustJSON[[]string](o.t, a); !slices.Equal(got, []string{path}) {
		o.t.Errorf("selecting %s: %q", path, got)
	}
	if path == "cluster" {
		path = "root/ccfg/cluster" // it has no route of its own for the cluster object
	}
	return "/api/object/path/" + path
}

// ls is "ox SELECTOR ls".
func (o *ox) ls(selector string) []string {
	o.t.Helper()
	type list struct {
		Kind  string `json:"kind"`
		Items []struct {
			Kind string `json:"kind"`
			Meta struct {
				Object string `json:"object"`
			} `json:"meta"`
		} `json:"items"`
	}
	l := mustJSON[list](o.t, o.want(http.StatusOK, o.call(http.MethodGet, "/api/object", url.Values{"path": {selector}}, nil)))
	paths := []string{}
	for _, item := range l.Items {
		if item.Kind != "ObjectItem" {
			o.t.Errorf("an item is a %q", item.Kind)
		}
		paths = append(paths, item.Meta.Object)
	}
	if l.Kind != "ObjectList" {
		o.t.Errorf("the list is a %q", l.Kind)
	}
	return paths
}

// want checks the status of an answer.
func (o *ox) want(status int, a oxAnswer) oxAnswer {
	o.t.Helper()
	if a.status != status {
		o.t.Fatalf("%s: status %d, want %d: %s", o.asked[len(o.asked)-1], a.status, status, a.body)
	}
	return a
}

// oxKeyword is the value of a keyword.
type oxKeyword struct {
	Object      string  `json:"object"`
	Keyword     string  `json:"keyword"`
	Value       string  `json:"value"`
	Evaluated   *string `json:"evaluated"`
	EvaluatedAs string  `json:"evaluated_as"`
}

// configGet is "ox PATH config get --kw K [--eval [--impersonate NODE]]".
func (o *ox) configGet(path, keyword string, eval bool, impersonate string) oxKeyword {
	o.t.Helper()
	at := o.object(path)
	query := url.Values{"kw": {keyword}, "impersonate": {impersonate}, "evaluate": {fmt.Sprint(eval)}}
	type list struct {
		Kind  string      `json:"kind"`
		Items []oxKeyword `json:"items"`
	}
	l := mustJSON[list](o.t, o.want(http.StatusOK, o.call(http.MethodGet, at+"/config", query, nil)))
	if l.Kind != "KeywordList" || len(l.Items) != 1 || l.Items[0].Object != path || l.Items[0].Keyword != keyword {
		o.t.Fatalf("%s: %+v", keyword, l)
	}
	return l.Items[0]
}

// configUpdate is "ox PATH config update --set … --unset … --delete …".
func (o *ox) configUpdate(path string, set, unset, sections []string) (changed bool) {
	o.t.Helper()
	a := o.want(http.StatusOK, o.call(http.MethodPatch, o.object(path)+"/config", oxChange(set, unset, sections), nil))
	type answer struct {
		IsChanged *bool `json:"is_changed"`
	}
	got := mustJSON[answer](o.t, a)
	if got.IsChanged == nil {
		o.t.Fatalf("no is_changed in %s", a.body)
	}
	return *got.IsChanged
}

// oxChange sends what was not given as an empty parameter.
func oxChange(set, unset, sections []string) url.Values {
	query := url.Values{}
	for name, values := range map[string][]string{"set": set, "unset": unset, "delete": sections} {
		if len(values) == 0 {
			values = []string{""}
		}
		query[name] = values
	}
	return query
}

// oxStep is one step of a change of keys.
type oxStep struct {
	Action string  `json:"action"`
	Name   string  `json:"name"`
	String *string `json:"string,omitempty"`
	Bytes  *[]byte `json:"bytes,omitempty"`
	To     string  `json:"to,omitempty"`
}

// patchKeys is "ox PATH key add|change|remove|rename".
func (o *ox) patchKeys(path string, steps ...oxStep) oxAnswer {
	o.t.Helper()
	body, err := json.Marshal(steps)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.call(http.MethodPatch, o.object(path)+"/data", nil, body)
}

// decode is "ox PATH key decode --name NAME".
func (o *ox) decode(path, name string) oxAnswer {
	o.t.Helper()
	return o.call(http.MethodGet, o.object(path)+"/data/key", url.Values{"name": {name}}, nil)
}

// keys is "ox PATH key list".
func (o *ox) keys(path string) string {
	o.t.Helper()
	type list struct {
		Kind  string `json:"kind"`
		Items []struct {
			Object string `json:"object"`
			Node   string `json:"node"`
			Name   string `json:"name"`
			Size   int    `json:"size"`
		} `json:"items"`
	}
	l := mustJSON[list](o.t, o.want(http.StatusOK, o.call(http.MethodGet, o.object(path)+"/data/keys", nil, nil)))
	var names []string
	for _, item := range l.Items {
		names = append(names, item.Name)
	}
	if l.Kind != "DataKeyList" {
		o.t.Errorf("the list is a %q", l.Kind)
	}
	return strings.Join(names, " ")
}

func text(s string) *string { return &s }

// TestOpenSVCClient makes the calls that OpenSVC's remote client can make, in each of its contexts.
func TestOpenSVCClient(t *testing.T) {
	d := lab.NewHome(t).Start(t, "--node-name", "node1")
	pair := d.User(t, "root", "root")
	password(t, d, "root", "correct horse battery")
	root := filepath.Join(filepath.Dir(d.Dir), "osvc") // its OSVC_ROOT_PATH: the socket is where it looks for it
	if err := os.MkdirAll(filepath.Join(root, "var/lsnr"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "var/lsnr/http.sock")
	if err := os.Symlink(d.Socket(), link); err != nil {
		t.Fatal(err)
	}
	for name, made := range map[string]func(*testing.T) *ox{
		"certificate": func(t *testing.T) *ox { return overTLS(t, d, pair, "") },
		"token":       func(t *testing.T) *ox { return overTLS(t, d, nil, loggedIn(t, d, "root", "correct horse battery", "")) },
		"socket":      func(t *testing.T) *ox { return onSocket(t, d.Socket()) },
		"its socket":  func(t *testing.T) *ox { return onSocket(t, link) },
	} {
		t.Run(name, func(t *testing.T) {
			o := made(t)
			namespace := "ox" + strings.ReplaceAll(name, " ", "")
			// Its own create of a sec does not work: it crashes before it calls. That of a cfg is this.
			o.want(http.StatusNoContent, o.call(http.MethodPost, "/api/object/path/"+namespace+"/cfg/plain/config/file", nil, []byte("[DEFAULT]\ncomment = made\n")))
			d.Run(t, namespace+"/sec/web", "create", "--kw", "cn=web.mycorp")
			d.Run(t, namespace+"/usr/dummy", "create")
			t.Run("objects", func(t *testing.T) { o.t = t; oxObjects(o, namespace) })
			t.Run("config", func(t *testing.T) { o.t = t; oxConfig(o, namespace) })
			t.Run("keys", func(t *testing.T) { o.t = t; oxKeys(o, namespace) })
			t.Run("files", func(t *testing.T) { o.t = t; oxFiles(o, namespace) })
			t.Run("nodes", func(t *testing.T) { o.t = t; oxNodes(o) })
			t.Run("delete", func(t *testing.T) { o.t = t; oxDelete(o, namespace) })
		})
	}
}

func oxObjects(o *ox, ns string) {
	o.t.Helper()
	all := []string{ns + "/cfg/plain", ns + "/sec/web", ns + "/usr/dummy"}
	if got := o.ls(ns + "/*/*"); !slices.Equal(got, all) {
		o.t.Errorf("ls: %q, want %q", got, all)
	}
	if got := o.ls(ns + "/sec/web," + ns + "/usr/*"); !slices.Equal(got, all[1:]) {
		o.t.Errorf("ls of a union: %q, want %q", got, all[1:])
	}
	// What is not there is an empty list, for a glob and for a path.
	for _, selector := range []string{"absent/*/*", ns + "/sec/absent"} {
		if a := o.call(http.MethodGet, "/api/object/path", url.Values{"path": {selector}}, nil); a.status != 200 || strings.TrimSpace(string(a.body)) != "[]" {
			o.t.Errorf("%s: status %d %s, want an empty list", selector, a.status, a.body)
		}
		if got := o.ls(selector); len(got) != 0 {
			o.t.Errorf("ls %s: %q", selector, got)
		}
	}
	o.want(http.StatusOK, o.call(http.MethodGet, "/api/object/path/"+all[1], nil, nil))
	o.want(http.StatusNotFound, o.call(http.MethodGet, "/api/object/path/"+ns+"/sec/absent", nil, nil))
}

func oxConfig(o *ox, ns string) {
	o.t.Helper()
	web := ns + "/sec/web"
	if !o.configUpdate(web, []string{"o=mycorp", "alt_names+=a.mycorp", "alt_names+=b.mycorp"}, nil, nil) || o.configUpdate(web, []string{"o=mycorp"}, nil, nil) {
		o.t.Error("a change is told from none")
	}
	if !o.configUpdate(web, []string{"alt_names-=a.mycorp"}, []string{"o"}, nil) {
		o.t.Error("unchanged")
	}
	if got := o.configGet(web, "alt_names", false, ""); got.Value != "b.mycorp" || got.Evaluated != nil {
		o.t.Errorf("alt_names: %+v", got)
	}
	if got := o.configGet(web, "key_type", true, ""); got.Value != "" || got.Evaluated == nil || *got.Evaluated != "ec-p256" || got.EvaluatedAs != "node1" {
		o.t.Errorf("key_type evaluated: %+v", got)
	}
	if got := o.configGet(web, "cn", true, "localhost"); got.Evaluated == nil || *got.Evaluated != "web.mycorp" {
		o.t.Errorf("cn evaluated for a node: %+v", got)
	}
	at := "/api/object/path/" + web + "/config"
	o.want(http.StatusBadRequest, o.call(http.MethodGet, at, url.Values{"kw": {"cn"}, "impersonate": {"node1"}}, nil))
	o.want(http.StatusBadRequest, o.call(http.MethodPatch, at, oxChange(nil, nil, nil), nil))
	o.want(http.StatusBadRequest, o.call(http.MethodPatch, at, oxChange([]string{"gramt=x"}, nil, nil), nil))
	o.want(http.StatusNotFound, o.call(http.MethodPatch, "/api/object/path/"+ns+"/sec/absent/config", oxChange([]string{"cn=x"}, nil, nil), nil))

	// The cluster object, as its commands reach it and as its own routes do.
	if !o.configUpdate("cluster", []string{"cluster.vip=192.0.2.7"}, nil, nil) {
		o.t.Error("cluster: unchanged")
	}
	if got := o.configGet("cluster", "cluster.vip", false, ""); got.Value != "192.0.2.7" {
		o.t.Errorf("cluster.vip: %+v", got)
	}
	o.want(http.StatusOK, o.call(http.MethodPatch, "/api/cluster/config", oxChange(nil, []string{"cluster.vip"}, nil), nil))
	if a := o.want(http.StatusOK, o.call(http.MethodGet, "/api/cluster/config/file", nil, nil)); !bytes.Contains(a.body, []byte("[cluster]")) || bytes.Contains(a.body, []byte("vip")) {
		o.t.Errorf("the cluster's file: %s", a.body)
	}
}

func oxKeys(o *ox, ns string) {
	o.t.Helper()
	web, binary := ns+"/sec/web", []byte{0, 1, 0xff, '\n'}
	o.want(http.StatusNoContent, o.patchKeys(web, oxStep{Action: "add", Name: "a/b", String: text("blue\n")}, oxStep{Action: "add", Name: "bin", Bytes: &binary}))
	// It tells the operator to use change, at a 409.
	o.want(http.StatusConflict, o.patchKeys(web, oxStep{Action: "add", Name: "fresh", String: text("x")}, oxStep{Action: "add", Name: "bin", Bytes: &binary}))
	big := make([]byte, 1_000_001)
	o.want(http.StatusRequestEntityTooLarge, o.patchKeys(web, oxStep{Action: "add", Name: "big", Bytes: &big}))
	if got := o.keys(web); !strings.Contains(got, "a/b") || strings.Contains(got, "fresh") || strings.Contains(got, "big") {
		o.t.Errorf("keys: %s: a change is made whole or not at all", got)
	}
	for name, want := range map[string]string{"a/b": "blue\n", "bin": string(binary)} {
		a := o.want(http.StatusOK, o.decode(web, name))
		media := map[string]string{"a/b": "text/plain", "bin": "application/octet-stream"}[name]
		if string(a.body) != want || !strings.HasPrefix(a.header.Get("Content-Type"), media) {
			o.t.Errorf("%s: %q as %q, want %q as %q", name, a.body, a.header.Get("Content-Type"), want, media)
		}
	}
	o.want(http.StatusNoContent, o.patchKeys(web, oxStep{Action: "rename", Name: "a/b", To: "c"}))
	o.want(http.StatusNoContent, o.patchKeys(web, oxStep{Action: "change", Name: "c", String: text("green")}))
	if a := o.decode(web, "c"); string(a.body) != "green" {
		o.t.Errorf("c: %q", a.body)
	}
	o.want(http.StatusNoContent, o.patchKeys(web, oxStep{Action: "remove", Name: "c"}))
	o.want(http.StatusNotFound, o.decode(web, "c"))

	at, named := "/api/object/path/"+web+"/data/key", url.Values{"name": {"x/y"}}
	o.want(http.StatusNotFound, o.call(http.MethodPut, at, named, []byte("1")))
	o.want(http.StatusNoContent, o.call(http.MethodPost, at, named, []byte("1")))
	o.want(http.StatusConflict, o.call(http.MethodPost, at, named, []byte("2")))
	o.want(http.StatusNoContent, o.call(http.MethodPut, at, named, []byte("3")))
	o.want(http.StatusRequestEntityTooLarge, o.call(http.MethodPut, at, named, big))
	type value struct {
		Name  string `json:"name"`
		Bytes []byte `json:"bytes"`
	}
	values := mustJSON[[]value](o.t, o.want(http.StatusOK, o.call(http.MethodGet, "/api/object/path/"+web+"/data", url.Values{"name": {"x/y", "bin"}}, nil)))
	if len(values) != 2 || string(values[0].Bytes) != "3" || !bytes.Equal(values[1].Bytes, binary) {
		o.t.Errorf("values: %+v", values)
	}
	o.want(http.StatusNoContent, o.call(http.MethodDelete, at, named, nil))
	o.want(http.StatusNoContent, o.call(http.MethodDelete, at, named, nil)) // gone already
	o.want(http.StatusNotFound, o.call(http.MethodGet, "/api/object/path/"+ns+"/sec/absent/data/key", named, nil))
}

func oxFiles(o *ox, ns string) {
	o.t.Helper()
	at := "/api/object/path/" + ns + "/cfg/plain/config/file"
	a := o.want(http.StatusOK, o.call(http.MethodGet, at, nil, nil))
	if !bytes.Contains(a.body, []byte("comment = made")) {
		o.t.Errorf("the file: %s", a.body)
	}
	if _, err := time.Parse(time.RFC3339Nano, a.header.Get("OM-Last-Modified")); err != nil {
		o.t.Errorf("OM-Last-Modified: %v", err)
	}
	o.want(http.StatusConflict, o.call(http.MethodPost, at, nil, a.body))
	o.want(http.StatusNoContent, o.call(http.MethodPut, at, nil, bytes.Replace(a.body, []byte("made"), []byte("edited"), 1)))
	if got := o.configGet(ns+"/cfg/plain", "comment", false, ""); got.Value != "edited" {
		o.t.Errorf("comment: %+v", got)
	}
	o.want(http.StatusBadRequest, o.call(http.MethodPut, at, nil, []byte("no section")))
	absent := strings.Replace(at, "plain", "absent", 1)
	o.want(http.StatusNotFound, o.call(http.MethodGet, absent, nil, nil))
	o.want(http.StatusNotFound, o.call(http.MethodPut, absent, nil, []byte("[DEFAULT]\n")))
}

func oxNodes(o *ox) {
	o.t.Helper()
	type listener struct {
		Addr  string `json:"addr"`
		Port  string `json:"port"`
		State string `json:"state"`
	}
	type info struct {
		Env      string            `json:"env"`
		Labels   map[string]string `json:"labels"`
		Paths    []string          `json:"paths"`
		Listener listener          `json:"listener"`
	}
	infos := mustJSON[map[string]info](o.t, o.want(http.StatusOK, o.call(http.MethodGet, "/api/node/info", nil, nil)))
	if got := infos["node1"]; len(infos) != 1 || got.Listener.Port == "" || got.Listener.State != "running" || got.Labels == nil || got.Paths == nil {
		o.t.Errorf("node info: %+v", infos)
	}
	type nodes struct {
		Kind  string `json:"kind"`
		Items []struct {
			Kind string `json:"kind"`
			Meta struct {
				Node string `json:"node"`
			} `json:"meta"`
		} `json:"items"`
	}
	list := mustJSON[nodes](o.t, o.want(http.StatusOK, o.call(http.MethodGet, "/api/node", url.Values{"node": {"*"}}, nil)))
	if list.Kind != "NodeList" || len(list.Items) != 1 || list.Items[0].Kind != "NodeItem" || list.Items[0].Meta.Node != "node1" {
		o.t.Errorf("nodes: %+v", list)
	}
	for _, name := range []string{"node1", "localhost", "_"} {
		o.want(http.StatusNoContent, o.call(http.MethodGet, "/api/node/name/"+name+"/ping", nil, nil))
	}
	o.want(http.StatusNotFound, o.call(http.MethodGet, "/api/node/name/node9/ping", nil, nil))
	o.want(http.StatusBadRequest, o.call(http.MethodPost, "/api/node/name/node9/daemon/action/restart", nil, nil))
	who := mustJSON[map[string]any](o.t, o.want(http.StatusOK, o.call(http.MethodGet, "/api/auth/whoami", nil, nil)))
	if who["name"] != "root" || who["raw_grant"] != "root" {
		o.t.Errorf("whoami: %v", who)
	}
}

func oxDelete(o *ox, ns string) {
	o.t.Helper()
	type accepted struct {
		ID string `json:"orchestration_id"`
	}
	for path, action := range map[string]string{ns + "/sec/web": "delete", ns + "/usr/dummy": "delete", ns + "/cfg/plain": "purge"} {
		if got := mustJSON[accepted](o.t, o.want(http.StatusOK, o.call(http.MethodPost, o.object(path)+"/action/"+action, nil, nil))); len(got.ID) != 36 {
			o.t.Errorf("%s: orchestration %q", path, got.ID)
		}
		o.want(http.StatusNotFound, o.call(http.MethodPost, "/api/object/path/"+path+"/action/"+action, nil, nil))
	}
	if got := o.ls(ns + "/*/*"); len(got) != 0 {
		o.t.Errorf("left: %q", got)
	}
}

// TestOpenSVCRestart is "ox daemon restart --node NODE", in each of its contexts, and omca's own restart of a server elsewhere.
func TestOpenSVCRestart(t *testing.T) {
	d := lab.NewHome(t).Start(t, "--node-name", "node1")
	pair := d.User(t, "root", "root")
	password(t, d, "root", "correct horse battery")
	type called struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}
	for name, o := range map[string]*ox{
		"certificate": overTLS(t, d, pair, ""), "socket": onSocket(t, d.Socket()),
		"token": overTLS(t, d, nil, loggedIn(t, d, "root", "correct horse battery", "")),
	} {
		before := pid(t, d)
		o.want(http.StatusOK, o.call(http.MethodGet, "/api/node/info", nil, nil)) // what a selector of nodes begins with
		got := mustJSON[called](t, o.want(http.StatusOK, o.call(http.MethodPost, "/api/node/name/node1/daemon/action/restart", nil, nil)))
		if got.Status != http.StatusOK || !strings.Contains(got.Title, "restart has been called") || got.Detail == "" {
			t.Errorf("%s: %+v", name, got)
		}
		began := time.Now()
		for pid(t, d) == before && time.Since(began) < lab.Patience {
			time.Sleep(20 * time.Millisecond) // until the successor serves
		}
		if pid(t, d) == before {
			t.Fatalf("%s: process %d serves on", name, before)
		}
	}
	before := pid(t, d)
	// A password that can be read once is read once, however often the successor is asked for.
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	c := d.Command(ctx, t, "--server", d.URL(""), "--ca", d.File(t, "ca.crt", d.CA(t)), "--user", "root", "--password-file", "-", "daemon", "restart", "--node=*")
	c.Stdin = strings.NewReader("correct horse battery\n")
	if r := lab.Finish(t, c); r.Status != 0 || pid(t, d) == before {
		t.Errorf("a restart from elsewhere: %+v", r)
	}
}

// TestOpenSVCLogin is the flow of its tokens: the answer of a login is the file, an access token that has expired is exchanged, once,
// and the file written again.
func TestOpenSVCLogin(t *testing.T) {
	d := lab.NewHome(t).Start(t)
	d.User(t, "alice", "admin:ns1")
	password(t, d, "alice", "correct horse battery")
	file := loggedIn(t, d, "alice", "correct horse battery", "&access_duration=1s")
	o := overTLS(t, d, nil, file)
	first := o.token()
	if first.AccessToken == "" || first.RefreshToken == "" || first.AccessExpiredAt.IsZero() || first.RefreshExpiredAt.Before(first.AccessExpiredAt) {
		t.Fatalf("the login gave %+v", first)
	}
	o.want(http.StatusOK, o.call(http.MethodGet, "/api/auth/whoami", nil, nil))
	for began := time.Now(); time.Since(began) < lab.Patience; {
		if o.send(http.MethodGet, "/api/auth/whoami", nil, nil, first.AccessToken).status == http.StatusUnauthorized {
			break
		}
		time.Sleep(50 * time.Millisecond) // until the token ends, which is a second from its making
	}
	o.asked = nil
	who := mustJSON[map[string]any](t, o.want(http.StatusOK, o.call(http.MethodGet, "/api/auth/whoami", nil, nil)))
	if want := []string{"GET /api/auth/whoami", "POST /api/auth/refresh"}; who["name"] != "alice" || !slices.Equal(o.asked, want) {
		t.Errorf("%v after %q", who, o.asked)
	}
	if now := o.token(); now.AccessToken == first.AccessToken || now.RefreshToken != first.RefreshToken {
		t.Error("the file has not the new access token and the same refresh token")
	}
	// The refresh token is for that alone, and "ox daemon auth" comes without a token.
	if a := o.send(http.MethodGet, "/api/auth/whoami", nil, nil, first.RefreshToken); a.status != http.StatusUnauthorized {
		t.Errorf("a refresh token was taken for an access token: status %d", a.status)
	}
	if a := o.send(http.MethodPost, "/api/auth/token", nil, nil, ""); a.status != http.StatusUnauthorized {
		t.Errorf("a token for nobody: status %d", a.status)
	}
	// On the socket it is what "ox daemon auth" prints.
	local := onSocket(t, d.Socket())
	query := url.Values{"subject": {"alice"}, "role": {"guest"}, "scope": {""}, "access_duration": {"60s"}, "refresh": {"false"}}
	issued := mustJSON[oxTokens](t, local.want(http.StatusOK, local.call(http.MethodPost, "/api/auth/token", query, nil)))
	who = mustJSON[map[string]any](t, o.send(http.MethodGet, "/api/auth/whoami", nil, nil, issued.AccessToken))
	if who["name"] != "alice" || who["raw_grant"] != "guest:ns1" || issued.RefreshToken != "" {
		t.Errorf("daemon auth: %v", who)
	}
}

// TestOpenSVCRefusals: what the client is refused, it can print.
func TestOpenSVCRefusals(t *testing.T) {
	d := lab.NewHome(t).Start(t)
	pair := d.User(t, "bob", "guest:ns1")
	d.Run(t, "ns1/sec/web", "create", "--kw", "cn=web.mycorp")
	bob, nobody := overTLS(t, d, pair, ""), overTLS(t, d, nil, "")
	for _, tt := range []struct {
		status       int
		o            *ox
		method, path string
		query        url.Values
		body         []byte
	}{
		{401, nobody, "GET", "/api/object/path", url.Values{"path": {"*"}}, nil},
		{401, nobody, "GET", "/api/auth/whoami", nil, nil},
		{401, nobody, "POST", "/api/auth/refresh", nil, nil},
		{403, bob, "GET", "/api/object/path/ns1/sec/web/data/key", url.Values{"name": {"x"}}, nil},
		{403, bob, "PATCH", "/api/object/path/ns1/sec/web/config", oxChange([]string{"cn=x"}, nil, nil), nil},
		{403, bob, "POST", "/api/object/path/ns1/sec/web/action/delete", nil, nil},
		{403, bob, "POST", "/api/object/path/ns1/sec/new/config/file", nil, []byte("[DEFAULT]\n")},
		{403, bob, "GET", "/api/cluster/config/file", nil, nil},
		{403, bob, "GET", "/api/node", nil, nil},
		{403, bob, "GET", "/api/node/name/localhost/ping", nil, nil},
		{403, bob, "POST", "/api/node/name/localhost/daemon/action/restart", nil, nil},
		{404, bob, "GET", "/api/no/such/route", nil, nil},
		{400, bob, "GET", "/api/object/path", url.Values{"path": {"a/b/c/d"}}, nil},
	} {
		a := tt.o.call(tt.method, tt.path, tt.query, tt.body)
		if a.status != tt.status || a.problem == nil {
			t.Errorf("%s %s: status %d with %s, want %d with a problem", tt.method, tt.path, a.status, a.body, tt.status)
		}
	}
	if a := bob.call(http.MethodGet, "/api/node/info", nil, nil); a.status != http.StatusOK {
		t.Errorf("node info is for any role: status %d", a.status)
	}
}

// password gives a user a password, which is never an argument.
func password(t *testing.T, d *lab.Daemon, user, word string) {
	t.Helper()
	d.Run(t, "system/usr/"+user, "key", "add", "--name", "password", "--from", d.File(t, user+".password", word))
}

// loggedIn logs in as the manuals do without a terminal: the answer is the file of the tokens.
func loggedIn(t *testing.T, d *lab.Daemon, user, word, more string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL("/api/auth/token?refresh=true"+more), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+word)))
	resp, err := d.HTTP(t, nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("login of %s: status %d: %s %v", user, resp.StatusCode, body, err)
	}
	return d.File(t, user+strings.Map(func(r rune) rune {
		if r == '/' {
			return '-'
		}
		return r
	}, t.Name())+".json", string(body))
}
